# Rebuilt from recorded requests with the examples of FoxAPI's pages, one for each of its models and options: they are not
# the lines of the pages as printed. `curl_calls.py` replaces the base URL, the key and `{task_id}`.

# kling-v3-image-to-video
curl --request POST \
  --url https://api.foxapi.cc/v1/videos/generations \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '{
  "model": "kling-v3-image-to-video",
  "prompt": "从薄雾弥漫的清晨平滑过渡到金色日落",
  "resolution": "720p",
  "image_url": "https://example.com/start.jpg",
  "image_tail_url": "https://example.com/end.jpg",
  "duration": 10
}'

# query, until completed
curl --request GET \
  --url https://api.foxapi.cc/v1/tasks/{task_id} \
  --header 'Authorization: Bearer <token>'

# kling-v3-image-to-video with sound
curl --request POST \
  --url https://api.foxapi.cc/v1/videos/generations \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '{
  "model": "kling-v3-image-to-video",
  "prompt": "从薄雾弥漫的清晨平滑过渡到金色日落",
  "resolution": "720p",
  "image_url": "https://example.com/start.jpg",
  "image_tail_url": "https://example.com/end.jpg",
  "duration": 10,
  "generate_audio": true
}'

# kling-v3-image-to-video with a voice
curl --request POST \
  --url https://api.foxapi.cc/v1/videos/generations \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '{
  "model": "kling-v3-image-to-video",
  "prompt": "<<<voice_1>>> says hello",
  "resolution": "720p",
  "image_url": "https://example.com/start.jpg",
  "image_tail_url": "https://example.com/end.jpg",
  "duration": 10,
  "generate_audio": true,
  "voice_ids": ["voice_123456"]
}'

# kling-v3-image-to-video with several prompts
curl --request POST \
  --url https://api.foxapi.cc/v1/videos/generations \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '{
  "model": "kling-v3-image-to-video",
  "prompt": "从薄雾弥漫的清晨平滑过渡到金色日落",
  "resolution": "720p",
  "image_url": "https://example.com/start.jpg",
  "image_tail_url": "https://example.com/end.jpg",
  "duration": 10,
  "multi_prompt": [{"prompt": "a", "duration": 5}, {"prompt": "b", "duration": 5}]
}'

# kling-v3-image-to-video with null
curl --request POST \
  --url https://api.foxapi.cc/v1/videos/generations \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '{
  "model": "kling-v3-image-to-video",
  "prompt": "从薄雾弥漫的清晨平滑过渡到金色日落",
  "resolution": "720p",
  "image_url": "https://example.com/start.jpg",
  "image_tail_url": "https://example.com/end.jpg",
  "duration": 10,
  "voice_ids": null,
  "multi_prompt": null,
  "negative_prompt": null
}'

# kling-o3-image-to-video
curl --request POST \
  --url https://api.foxapi.cc/v1/videos/generations \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '{
  "model": "kling-o3-image-to-video",
  "prompt": "x",
  "image_url": "https://example.com/a.jpg",
  "end_image_url": "https://example.com/b.jpg",
  "duration": 4
}'

# kling-o3-reference-to-video
curl --request POST \
  --url https://api.foxapi.cc/v1/videos/generations \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '{
  "model": "kling-o3-reference-to-video",
  "prompt": "@Image1",
  "start_image_url": "https://example.com/a.jpg",
  "image_urls": ["https://example.com/c.jpg"],
  "duration": 4
}'

# kling-o3-reference-to-video with elements
curl --request POST \
  --url https://api.foxapi.cc/v1/videos/generations \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '{
  "model": "kling-o3-reference-to-video",
  "prompt": "@Element1",
  "elements": [
    {"frontal_image_url": "https://example.com/a.jpg", "reference_image_urls": ["https://example.com/b.jpg"]}
  ],
  "duration": 4
}'

# kling-v3-motion-control
curl --request POST \
  --url https://api.foxapi.cc/v1/videos/generations \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '{
  "model": "kling-v3-motion-control",
  "image_url": "https://example.com/a.jpg",
  "video_url": "https://example.com/a.mp4",
  "mode": "std",
  "character_orientation": "image"
}'

# query of an unknown task: refused
curl --request GET \
  --url https://api.foxapi.cc/v1/tasks/task-unified-0-none \
  --header 'Authorization: Bearer <token>'
