"""All tables that the file may have, as one Struct."""

from collections.abc import Mapping

from msgspec import Struct

from gateway.settings.clients import BudgetSettings, ClientSettings
from gateway.settings.sections import (
    ArtifactSettings,
    DatabaseSettings,
    FetchSettings,
    FileSettings,
    MetricsSettings,
    ModelSettings,
    ProviderSettings,
    RetentionSettings,
    ServerSettings,
    TracingSettings,
    WebhookSettings,
)


class Sections(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every table that the file may have."""

    server: ServerSettings = ServerSettings()
    clients: Mapping[str, ClientSettings] = {}
    budgets: BudgetSettings = BudgetSettings()
    metrics: MetricsSettings = MetricsSettings()
    database: DatabaseSettings = DatabaseSettings()
    providers: Mapping[str, ProviderSettings] = {}
    models: Mapping[str, ModelSettings] = {}
    fetch: FetchSettings = FetchSettings()
    files: FileSettings = FileSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    retention: RetentionSettings = RetentionSettings()
    webhooks: WebhookSettings = WebhookSettings()
    tracing: TracingSettings = TracingSettings()
