# Rebuilt from recorded requests: the page of the relay prints no lines, but a schema with an example of each field. The
# bodies have these examples, and those of Kling's own page at the same path. `curl_calls.py` replaces the base URL, the
# key and `{task_id}`.

# image2video
curl --location --request POST 'https://api.xiexus.cn/kling/v1/videos/image2video' \
--header 'Authorization: Bearer <token>' \
--header 'Content-Type: application/json' \
--data-raw '{
    "model": "kling-v1",
    "prompt": "宇航员站起身走了",
    "image": "https://example.com/image.jpg",
    "duration": 5,
    "width": 1280,
    "height": 720,
    "n": 1,
    "response_format": "url",
    "user": "user-1234",
    "metadata": {"negative_prompt": "blur"}
}'

# query of image2video, until completed
curl --location --request GET 'https://api.xiexus.cn/kling/v1/videos/image2video/{task_id}' \
--header 'Authorization: Bearer <token>'

# image2video with fps and seed
curl --location --request POST 'https://api.xiexus.cn/kling/v1/videos/image2video' \
--header 'Authorization: Bearer <token>' \
--header 'Content-Type: application/json' \
--data-raw '{
    "model": "kling-v1",
    "prompt": "宇航员站起身走了",
    "image": "https://example.com/image.jpg",
    "duration": 5,
    "width": 1280,
    "height": 720,
    "fps": 30,
    "seed": 20231234,
    "n": 1,
    "response_format": "url",
    "user": "user-1234",
    "metadata": {"negative_prompt": "blur"}
}'

# text2video
curl --location --request POST 'https://api.xiexus.cn/kling/v1/videos/text2video' \
--header 'Authorization: Bearer <token>' \
--header 'Content-Type: application/json' \
--data-raw '{
    "model": "kling-v1",
    "prompt": "宇航员站起身走了",
    "duration": 5,
    "width": 1280,
    "height": 720,
    "n": 1,
    "response_format": "url",
    "user": "user-1234",
    "metadata": {"negative_prompt": "blur"}
}'

# query of text2video, until completed
curl --location --request GET 'https://api.xiexus.cn/kling/v1/videos/text2video/{task_id}' \
--header 'Authorization: Bearer <token>'

# image2video in Kling's own words
curl --location --request POST 'https://api.xiexus.cn/kling/v1/videos/image2video' \
--header 'Authorization: Bearer <token>' \
--header 'Content-Type: application/json' \
--data-raw '{
    "model_name": "kling-v1",
    "prompt": "x",
    "image": "https://example.com/image.jpg",
    "image_tail": "https://example.com/tail.jpg",
    "negative_prompt": "blur",
    "cfg_scale": 0.5,
    "mode": "std",
    "aspect_ratio": "16:9",
    "duration": "5"
}'

# query in Kling's own words, until succeed
curl --location --request GET 'https://api.xiexus.cn/kling/v1/videos/image2video/{task_id}' \
--header 'Authorization: Bearer <token>'

# text2video in Kling's own words
curl --location --request POST 'https://api.xiexus.cn/kling/v1/videos/text2video' \
--header 'Authorization: Bearer <token>' \
--header 'Content-Type: application/json' \
--data-raw '{
    "model_name": "kling-v1",
    "prompt": "x",
    "negative_prompt": "blur",
    "cfg_scale": 0.5,
    "mode": "std",
    "aspect_ratio": "16:9",
    "duration": "5",
    "external_task_id": "order-1"
}'

# text2video with a prompt alone
curl --location --request POST 'https://api.xiexus.cn/kling/v1/videos/text2video' \
--header 'Authorization: Bearer <token>' \
--header 'Content-Type: application/json' \
--data-raw '{
    "model": "kling-v1",
    "prompt": "x"
}'

# text2video without a prompt: refused
curl --location --request POST 'https://api.xiexus.cn/kling/v1/videos/text2video' \
--header 'Authorization: Bearer <token>' \
--header 'Content-Type: application/json' \
--data-raw '{
    "model": "kling-v1"
}'
