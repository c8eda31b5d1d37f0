"""Opens the store of results that is configured."""

from gateway.artifacts.bucket import ArtifactBucket
from gateway.artifacts.folder import ArtifactFolder
from gateway.artifacts.store import ArtifactStore
from gateway.buckets.opening import bucket_of
from gateway.settings.load import Settings


def open_artifact_store(settings: Settings) -> ArtifactStore:
    """The bucket or the folder in which results are archived, as configured. The ledger must be open already.

    One gateway at a time has an SQLite file open, so that nobody else writes to its folder.
    """
    alone = settings.database.path is not None
    if settings.artifacts.is_bucket:
        return ArtifactBucket(bucket_of(settings.artifacts), settings.artifacts.path, alone=alone)
    return ArtifactFolder(settings.artifacts.path, alone=alone)
