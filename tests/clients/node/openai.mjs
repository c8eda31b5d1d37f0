// The calls of the package `openai`: videos, images, files, models and webhooks.
import { createReadStream } from "node:fs";
import OpenAI, { toFile } from "openai";
import { HOOK, IMAGE, KEY, PATIENCE, URL, all, call, check, image, isVideo, refused, until, webhooks } from "./calls.mjs";

const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: KEY, timeout: PATIENCE });
const [VIDEO, IMAGES, FAILING] = ["sora-2", "keevx/image", "foxapi/kling-v3-text-to-video"];
const SMALL = { seconds: "4", size: "1280x720" };
const ended = (video) => ["completed", "failed"].includes(video.status);
const bytes = async (answer) => Buffer.from(await (await answer).arrayBuffer());

await call("models.list", async () => check((await all(client.models.list())).some((model) => model.id === VIDEO)));
await call("models.retrieve", async () => check((await client.models.retrieve(VIDEO)).id === VIDEO));
await call("models.retrieve, a name with a slash", async () =>
  check((await client.models.retrieve("keevx/V")).id === "keevx/V"));

let file, other;
await call("files.create", async () => {
  file = await client.files.create({ file: await toFile(image(), "a.png", { type: "image/png" }), purpose: "vision" });
});
await call("files.create, expires_after", async () => {
  const expires_after = { anchor: "created_at", seconds: 3600 };
  other = await client.files.create({ file: createReadStream(IMAGE), purpose: "user_data", expires_after });
  check(other.expires_at);
});
await call("files.retrieve", async () => check((await client.files.retrieve(file.id)).filename === "a.png"));
await call("files.list, its pages", async () => {
  const ids = (await all(client.files.list({ limit: 1 }))).map((item) => item.id);
  check(ids.includes(file.id) && ids.includes(other.id));
});
await call("files.content", async () => check(image().equals(await bytes(client.files.content(file.id)))));
await call("files.create, not an image: refused", async () =>
  refused(client.files.create({ file: await toFile(Buffer.from("{}"), "a.jsonl"), purpose: "vision" }), 400));

let first, made;
await call("videos.create", async () => {
  first = await client.videos.create({ model: VIDEO, prompt: "Waves roll in" });
});
await call("videos.create, seconds and size", async () => {
  made = await client.videos.create({ model: VIDEO, prompt: "Waves", ...SMALL });
  check(made.seconds === "4" && made.size === "1280x720");
});
for (const [name, reference] of Object.entries({
  "a file": createReadStream(IMAGE),
  image_url: { image_url: "https://example.com/a.png" },
  file_id: { file_id: file?.id },
}))
  await call(`videos.create, input_reference: ${name}`, () =>
    client.videos.create({ model: VIDEO, prompt: "Zoom in", input_reference: reference }));
await call("videos.create, fields of the gateway", () =>
  client.videos.create({ model: VIDEO, prompt: "Waves", metadata: { order: "1" }, generate_audio: false }));
await call("videos.create, unknown model: refused", () =>
  refused(client.videos.create({ model: "sora-2-xyz", prompt: "x" }), 400, 404));
await call("videos.create, wrong seconds: refused", () =>
  refused(client.videos.create({ model: VIDEO, prompt: "x", seconds: "7000" }), 400));
await call("videos.create, wrong key: refused", () =>
  refused(client.withOptions({ apiKey: "sk-nobody" }).videos.create({ model: VIDEO, prompt: "x" }), 401));
await call("videos.retrieve", async () => {
  made = await until(() => client.videos.retrieve(made.id), ended);
  check(made.status === "completed");
});
await call("videos.retrieve, the provider fails", async () => {
  const prompt = "x [[sandbox:foxapi:task:fail_content]]";
  const { id } = await client.videos.create({ model: FAILING, prompt });
  const failed = await until(() => client.videos.retrieve(id), ended);
  check(failed.status === "failed" && failed.error.code);
});
await call("videos.retrieve, unknown id: refused", () =>
  refused(client.videos.retrieve("video_00000000000000000000000000"), 404));
await call("videos.list, its pages", async () =>
  check((await all(client.videos.list({ limit: 2 }))).some((video) => video.id === made.id)));
await call("videos.list, order", async () =>
  check((await client.videos.list({ limit: 1, order: "asc" })).data[0].object === "video"));
await call("videos.downloadContent", async () => check(isVideo(await bytes(client.videos.downloadContent(made.id)))));
await call("videos.downloadContent, thumbnail", async () =>
  // It is drawn after the video has completed.
  until(
    () => client.videos.downloadContent(made.id, { variant: "thumbnail" }).then(bytes, () => []),
    (picture) => picture.length,
  ));
await call("videos.downloadContent, spritesheet", async () =>
  check((await bytes(client.videos.downloadContent(made.id, { variant: "spritesheet" }))).length));
await call("videos.remix", () => client.videos.remix(made.id, { prompt: "at night" }));
await call("videos.edit", () => client.videos.edit({ prompt: "at night", video: { id: made.id } }));
await call("videos.extend", () => client.videos.extend({ prompt: "go on", seconds: "4", video: { id: made.id } }));
await call("videos.createCharacter", async () =>
  client.videos.createCharacter({ name: "Bob", video: await toFile(Buffer.from("x"), "a.mp4") }));
await call("videos.create, a retry after a lost answer", async () => {
  const body = { model: VIDEO, prompt: `Waves ${Date.now()}` };
  const once = await client.videos.create(body);
  const again = await client.videos.create(body, { headers: { "x-stainless-retry-count": "1" } });
  check(once.id === again.id);
});
await call("videos.delete", async () => check((await client.videos.delete(made.id)).deleted));

for (const [name, more] of Object.entries({
  "images.generate": {},
  "images.generate, response_format: url": { response_format: "url" },
  "images.generate, response_format: b64_json": { response_format: "b64_json" },
  "images.generate, n: 2": { n: 2, size: "1024x1024", quality: "high" },
}))
  await call(name, async () => {
    const { data } = await client.images.generate({ model: IMAGES, prompt: "A lake", ...more });
    check(data.length === (more.n ?? 1) && data.every((item) => item.url || item.b64_json));
  });
await call("images.generate, unknown model: refused", () =>
  refused(client.images.generate({ model: "dall-e-9", prompt: "x" }), 400, 404));
await call("images.edit", async () =>
  check((await client.images.edit({ model: IMAGES, image: createReadStream(IMAGE), prompt: "at night" })).data.length));
await call("images.edit, two images", async () => {
  const two = [createReadStream(IMAGE), createReadStream(IMAGE)];
  check((await client.images.edit({ model: IMAGES, image: two, prompt: "both" })).data.length);
});

let endpoint;
await call("webhooks.create", async () => {
  const event_types = ["video.completed", "video.failed"];
  endpoint = await client.webhooks.create({ name: "mine", url: HOOK, event_types });
  check(endpoint.signing_secret.startsWith("whsec_"));
});
await call("webhooks.eventTypes.list", async () =>
  check((await client.webhooks.eventTypes.list()).data.includes("video.completed")));
await call("webhooks.list", async () =>
  check((await all(client.webhooks.list({ limit: 20 }))).some((item) => item.id === endpoint.id)));
await call("webhooks.retrieve", async () => check((await client.webhooks.retrieve(endpoint.id)).name === "mine"));
await call("webhooks.update", async () =>
  check((await client.webhooks.update(endpoint.id, { name: "other" })).name === "other"));
await call("webhooks.test", async () =>
  check((await client.webhooks.test(endpoint.id, { event_type: "video.completed" })).success));
await call("webhooks.unwrap", async () => {
  const [secret, seen] = [endpoint.signing_secret, webhooks().length];
  await client.videos.create({ model: VIDEO, prompt: "Waves", ...SMALL });
  const [{ body, headers }] = await until(() => webhooks().slice(seen), (arrived) => arrived.length);
  const event = await client.webhooks.unwrap(body, headers, secret);
  check(event.type === "video.completed" && event.data.id.startsWith("video_"));
});
await call("webhooks.rotateSecret", async () =>
  check((await client.webhooks.rotateSecret(endpoint.id, {})).signing_secret !== endpoint.signing_secret));
await call("webhooks.delete", async () => check((await client.webhooks.delete(endpoint.id)).deleted));
await call("files.delete", async () => check((await client.files.delete(file.id)).deleted));
