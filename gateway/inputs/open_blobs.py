"""Opens the place of the images of clients that is configured."""

from gateway.buckets.opening import bucket_of
from gateway.clock import Clock
from gateway.inputs.blob_bucket import CLIENT, RETRIES, BlobBucket
from gateway.inputs.blob_cache import BlobCache
from gateway.inputs.blob_folder import BlobFolder
from gateway.inputs.blobs import Blobs
from gateway.live import Live
from gateway.media.image_header import IMAGE_MAX
from gateway.settings.sections import ArtifactSettings


def open_blobs(artifacts: Live[ArtifactSettings], clock: Clock, *, has_others: bool) -> Blobs:
    """The bucket or the folder in which images of clients are stored, as configured when this is called.

    `has_others`: other gateways may work on the ledger. Raises `ConfigurationError` when the settings of the bucket are
    incomplete. Nothing is sent or written.
    """
    settings = artifacts.current
    min_free_bytes = artifacts.of(lambda now: now.min_free_bytes)
    folder = BlobFolder(settings.inputs, clock, min_free_bytes=min_free_bytes)
    if not settings.is_bucket:
        return folder
    cache = BlobCache(
        settings.cache,
        clock,
        max_bytes=artifacts.of(lambda now: now.cache_bytes),
        min_free_bytes=min_free_bytes,
        largest=IMAGE_MAX,
    )
    return BlobBucket(bucket_of(settings, client=CLIENT, retries=RETRIES), cache, folder, clock, has_others=has_others)
