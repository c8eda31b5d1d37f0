"""Kling's own API, the documented shape of relays in front of it, and the universal route of new-api.

`requests.py` reads the bodies, `views.py` has the answers and errors, `tasks.py` creates and finds, `paths.py` and
`new_api.py` have the handlers.

Two descriptions exist of one path, `POST /kling/v1/videos/{text2video,image2video}`. Kling's own body has `model_name`
and its answer is an envelope with `data`. The page of a relay (apidoc.xiexus.cn, a copy of new-api's generic document)
has a body with `model`, `width`, `height`, `fps`, `seed`, `n`, `metadata`, and the flat answer `{task_id, status}`.
new-api as a client sends `model` and `model_name` together, and reads the envelope. So nothing in a body tells the two
apart, and nothing has to: no field has two meanings, so both sets of fields are accepted in one body, and the answer is
Kling's envelope with the fields of the flat answer beside it. Clients of either kind ignore the fields that they do not
know.
"""

from gateway.api.dialects.kling import new_api, paths
from gateway.api.dialects.kling.tasks import answer_read as answer_read
from gateway.api.dialects.kling.views import KlingAnswer as KlingAnswer
from gateway.api.dialects.kling.views import KlingError as KlingError

KLING, NEW_API = paths.KLING, new_api.NEW_API
HANDLERS = (*paths.HANDLERS, *new_api.HANDLERS)
