"""Jobs for engines that exist: SkyPilot, XPK on GKE, Ray, Hugging Face Jobs."""
