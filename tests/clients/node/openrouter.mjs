// The calls of the package `@openrouter/sdk` for videos.
import { OpenRouter } from "@openrouter/sdk";
import { KEY, URL, call, check, isVideo, until } from "./calls.mjs";

const WAVES = { model: "kling", prompt: "Waves", aspectRatio: "16:9", duration: 5, resolution: "720p" };
const FRAME = { type: "image_url", imageUrl: { url: "https://example.com/a.png" }, frameType: "first_frame" };
const ENDED = ["completed", "failed", "cancelled", "expired"];

for (const base of ["/api/v1", "/v1", "/openrouter/v1"]) {
  const videos = new OpenRouter({ apiKey: KEY, serverURL: URL + base }).videoGeneration;
  let job;
  await call(`videoGeneration.generate, ${base}`, async () => {
    job = await videos.generate({ videoGenerationRequest: WAVES });
  });
  await call(`videoGeneration.getGeneration, ${base}`, async () => {
    const read = await until(() => videos.getGeneration({ jobId: job.id }), ({ status }) => ENDED.includes(status));
    check(read.status === "completed" && read.unsignedUrls.length);
  });
  await call(`videoGeneration.getVideoContent, ${base}`, async () => {
    const content = await videos.getVideoContent({ jobId: job.id, index: 0 });
    check(isVideo(await new Response(content).arrayBuffer()));
  });
  await call(`videoGeneration.listVideosModels, ${base}`, async () =>
    check((await videos.listVideosModels()).data.some((model) => model.id === "kling")));
  await call(`videoGeneration.generate, frameImages, ${base}`, () =>
    videos.generate({ videoGenerationRequest: { model: "kling", prompt: "Zoom", duration: 5, frameImages: [FRAME] } }));
}
