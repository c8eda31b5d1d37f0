# The upload, the two creates of the models V and KL, and the queries are the lines of Keevx's skill page "image-to-video"
# as printed; the create with both kinds of image is the line of the page "Create Image to Video Task" of its API
# reference as printed. In the queries `{task_id}` replaces the printed id. The create of images and the one
# without a prompt are rebuilt from recorded requests. `curl_calls.py` replaces the base URL, the key, the path of the
# file and `{task_id}`.

# upload a local file
curl --location 'https://api.keevx.com/v1/figure-resource/upload/file' \
  --header 'Authorization: Bearer $KEEVX_API_KEY' \
  --header 'source: skill' \
  --form 'file=@"/path/to/local/image.png"'

# image_to_video, model V
curl -X POST "https://api.keevx.com/v1/image_to_video" \
  -H "Authorization: Bearer $KEEVX_API_KEY" \
  -H "source: skill" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "V",
    "prompt": "Waves crashing on the beach at sunset",
    "image_url": "https://example.com/beach.jpg",
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 6,
    "generate_audio": true
  }'

# query, until SUCCEEDED
curl -X GET "https://api.keevx.com/v1/image_to_video/{task_id}" \
  -H "Authorization: Bearer $KEEVX_API_KEY" \
  -H "source: skill"

# image_to_video, model KL with references
curl -X POST "https://api.keevx.com/v1/image_to_video" \
  -H "Authorization: Bearer $KEEVX_API_KEY" \
  -H "source: skill" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "KL",
    "prompt": "City night timelapse, neon lights flickering",
    "reference_images": [
      "https://example.com/city1.jpg",
      "https://example.com/city2.jpg",
      "https://example.com/city3.jpg"
    ],
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 10,
    "generate_count": 2
  }'

# image_to_video, of the API reference: both kinds of image, refused
curl --request POST \
  --url https://api.keevx.com/v1/image_to_video \
  --header 'Authorization: Bearer <token>' \
  --header 'Content-Type: application/json' \
  --data '
{
  "model": "V",
  "prompt": "A golden retriever running in the grass, sunny day, cinematic lighting",
  "aspect_ratio": "16:9",
  "aspect_resolution": "1080p",
  "duration": 6,
  "image_url": "https://example.com/start_frame.jpg",
  "reference_images": [
    "https://example.com/ref1.jpg",
    "https://example.com/ref2.jpg"
  ],
  "generate_audio": true,
  "generate_count": 1,
  "callback_url": "https://your-server.com/callback"
}
'

# image_generate
curl -X POST "https://api.keevx.com/v1/image_generate" \
  -H "Authorization: Bearer $KEEVX_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "prompt": "A serene mountain lake at sunset with golden reflections",
    "reference_images": ["https://example.com/ref.jpg"],
    "module": "std",
    "generate_count": 2,
    "image_quality": "2K",
    "image_ratio": "16:9"
  }'

# query of image_generate, until SUCCEEDED
curl -X GET "https://api.keevx.com/v1/image_generate/{task_id}" \
  -H "Authorization: Bearer $KEEVX_API_KEY" \
  -H "source: skill"

# image_to_video without a prompt: refused
curl -X POST "https://api.keevx.com/v1/image_to_video" \
  -H "Authorization: Bearer $KEEVX_API_KEY" \
  -H "source: skill" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "V",
    "prompt": "",
    "image_url": "https://example.com/beach.jpg",
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 6,
    "generate_audio": true
  }'
