"""One API in front of many video and image generation providers."""
