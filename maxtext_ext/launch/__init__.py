"""Jobs for external engines: SkyPilot, XPK on GKE, Ray, Hugging Face Jobs."""
