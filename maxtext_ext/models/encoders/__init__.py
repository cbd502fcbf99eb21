"""Speech encoders: log-mel windows in, audio tokens out."""
