"""The public API as one list: `gateway.app` serves these handlers, and the OpenAPI document describes them.

A new endpoint is a handler with its `operation=`, and an entry here. The order is that of the document.
"""

from gateway.api.admin.deliveries import AdminDeliveryController
from gateway.api.admin.generations import AdminGenerationController
from gateway.api.admin.providers import AdminProviderController
from gateway.api.attempts.controller import AttemptController
from gateway.api.callbacks import callback
from gateway.api.clients.controller import ClientController
from gateway.api.configuration import ConfigurationController
from gateway.api.dialects import (
    foxapi,
    foxapi_uploads,
    keevx,
    keevx_upload,
    kling,
    openai_videos,
    openrouter,
    shared_paths,
    xai,
)
from gateway.api.files import FileController
from gateway.api.generations.content import image_content, video_content
from gateway.api.generations.controller import VideoGenerationController
from gateway.api.generations.events import image_events, video_events
from gateway.api.health import live, ready
from gateway.api.images.controller import ImageGenerationController, edit_image, vary_image
from gateway.api.metrics import metrics
from gateway.api.models.controller import ModelController
from gateway.api.purchases import PurchaseController
from gateway.api.restored.controller import RestoredController
from gateway.api.usage.controller import admin_usage, usage
from gateway.api.web.operation import Handlers
from gateway.api.webhooks.deliveries import WebhookDeliveryController
from gateway.api.webhooks.endpoints import WebhookEndpointController, webhook_event_types, webhook_secret

DIALECTS = (
    xai.XAI,
    foxapi.FOXAPI,
    openrouter.OPENROUTER,
    kling.KLING,
    kling.NEW_API,
    keevx.KEEVX_IMAGES,
    keevx.KEEVX,
)
# The shape of errors for paths that only one dialect has, also where such a path does not exist.
ERROR_FORMATS = {path: dialect.error for dialect in DIALECTS for path in dialect.own_paths}
HANDLERS: Handlers = (
    VideoGenerationController,
    video_events,
    ImageGenerationController,
    image_events,
    edit_image,
    vary_image,
    video_content,
    image_content,
    FileController,
    ModelController,
    AttemptController,
    PurchaseController,
    AdminGenerationController,
    AdminProviderController,
    AdminDeliveryController,
    RestoredController,
    ConfigurationController,
    usage,
    admin_usage,
    ClientController,
    WebhookEndpointController,
    WebhookDeliveryController,
    webhook_secret,
    webhook_event_types,
    *openrouter.HANDLERS,  # before the shared paths: `models` is not an id
    *shared_paths.HANDLERS,
    *openai_videos.HANDLERS,
    *xai.HANDLERS,
    *foxapi.HANDLERS,
    *kling.HANDLERS,
    *foxapi_uploads.HANDLERS,
    *keevx.HANDLERS,
    *keevx_upload.HANDLERS,
    callback,
    live,
    ready,
    metrics,
)
