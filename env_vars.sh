# shellcheck shell=bash
# Settings of the scripts in tools/ and data/, each of which may come from the environment instead:
#   TPU_NAME=qr-v4-32 BUCKET=gs://my-bucket tools/train.sh --dry-run
# They print what these come to, and with --dry-run do nothing else.

# The pod; TPU_NAME is also that of its queued resource. Empty: everything runs on this machine.
export TPU_NAME="${TPU_NAME-${TPU_PREFIX-}}"
export PROJECT="${PROJECT-}" # empty: that of `gcloud config`
export ZONE="${ZONE:-us-central2-b}"
export INTERNAL_IP="${INTERNAL_IP:-true}" # whether this machine is in the network of the pod
export ACCELERATOR_TYPE="${ACCELERATOR_TYPE:-v4-32}"
export RUNTIME_VERSION="${RUNTIME_VERSION:-tpu-ubuntu2204-base}"
export SPOT="${SPOT:-false}" # true: cheaper, and may be preempted

# Places. Empty ones are those of CONFIG.
export BUCKET="${BUCKET-}" # such as gs://my-bucket, in the region of the pod
export DATA_DIR="${DATA_DIR-${BUCKET:+gs://${BUCKET#gs://}/grain_data_arrayrecord}}"
export SOURCE_DIR="${SOURCE_DIR-${BUCKET:+gs://${BUCKET#gs://}/tfrecord}}" # made into DATA_DIR
export CHECKPOINT_DIR="${CHECKPOINT_DIR-${BUCKET:+gs://${BUCKET#gs://}/checkpoints}}" # models, runs

# What is trained. With CHECKPOINT_DIR the model is CHECKPOINT_DIR/MODEL_NAME; empty: that of CONFIG.
export CONFIG="${CONFIG:-configs/experiments/arabic_omni_v4_32.yml}"
export MODEL_NAME="${MODEL_NAME-qwen3-omni-30b-a3b}"
export HF_MODEL="${HF_MODEL:-Qwen/Qwen3-Omni-30B-A3B-Instruct}" # which it is converted from
export RUN_NAME="${RUN_NAME-}"                                  # empty: the name of CONFIG's file
export SPLITS="${SPLITS-}"                                      # empty: those that a script is for
