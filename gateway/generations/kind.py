"""Videos and images have paths of their own: an id is read only under the paths of its kind."""

from gateway.domain.adapter.request import Kind
from gateway.domain.errors import NotFound
from gateway.domain.generation.model import Generation

ROOT = {"video": "/v1/videos/generations", "image": "/v1/images/generations"}


def of_kind(generation: Generation, kind: Kind, below: str = "") -> Generation:
    """The generation unchanged. Raises `NotFound` with the right path if it is of another kind than the request's path.

    `below` is what follows the id in the path, such as "/content". Call it after the check of the owner: the answer
    says what the generation is.
    """
    if generation.kind != kind:
        article = {"video": "a video", "image": "an image"}[generation.kind]
        raise NotFound(
            f"{generation.id} is {article} generation: use {ROOT[generation.kind]}/{generation.id}{below}.", param="id"
        )
    return generation
