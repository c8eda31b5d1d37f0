"""Images: OpenAI's blocking calls, and the paths of image generations below them."""
