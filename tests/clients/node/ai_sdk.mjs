// The AI SDK with its providers, each pointed at the gateway by `baseURL` and `apiKey`. Two options are for the test alone:
// the pause between polls is shorter than the packages' own, because the sandbox ends a video in less than a second; and
// `download` fetches the file, because the SDK's own download refuses private addresses such as 127.0.0.1.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createXai } from "@ai-sdk/xai";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { experimental_generateVideo as generateVideo, generateImage } from "ai";
import { KEY, URL, call, check, image, isVideo } from "./calls.mjs";

const IMAGES = "keevx/image";
const fast = { xai: { pollIntervalMs: 100 } };
const to = (path) => ({ baseURL: URL + path, apiKey: KEY });

const download = async ({ url }) => {
  const answer = await fetch(url);
  return { data: new Uint8Array(await answer.arrayBuffer()), mediaType: answer.headers.get("content-type") };
};
const video = (options) => generateVideo({ download, ...options });

const isImage = ({ images }) => check(images.length && images.every((made) => made.uint8Array.length));
const isMade = (result) => check(isVideo(result.video.uint8Array), "the file is not an MP4");

for (const [name, model] of [
  ["@ai-sdk/openai-compatible", createOpenAICompatible({ name: "gateway", ...to("/v1") }).imageModel(IMAGES)],
  ["@ai-sdk/openai", createOpenAI(to("/v1")).image(IMAGES)],
  ["@ai-sdk/xai", createXai(to("/v1")).image(IMAGES)],
]) {
  await call(`${name}: generateImage`, async () => isImage(await generateImage({ model, prompt: "A lake" })));
  if (name === "@ai-sdk/xai") continue;
  await call(`${name}: generateImage, n: 2, size`, async () => {
    const result = await generateImage({ model, prompt: "A lake", n: 2, size: "1024x1024", maxImagesPerCall: 2 });
    check(result.images.length === 2);
  });
  await call(`${name}: generateImage, of an image`, async () =>
    isImage(await generateImage({ model, prompt: { text: "at night", images: [image()] } })));
}
await call("@ai-sdk/openai: generateImage, quality", async () => {
  const model = createOpenAI(to("/v1")).image(IMAGES);
  const providerOptions = { openai: { quality: "high" } };
  isImage(await generateImage({ model, prompt: "A lake", size: "1024x1024", providerOptions }));
});

for (const base of ["/v1", "/xai/v1"]) {
  const model = createXai(to(base)).video("kling");
  await call(`@ai-sdk/xai: generateVideo, ${base}`, async () =>
    isMade(await video({ model, prompt: "Waves roll in", providerOptions: fast })));
  await call(`@ai-sdk/xai: generateVideo, duration, ratio, resolution, ${base}`, async () => {
    const asked = { duration: 5, aspectRatio: "16:9", resolution: "1280x720" };
    isMade(await video({ model, prompt: "Waves roll in", ...asked, providerOptions: fast }));
  });
  await call(`@ai-sdk/xai: generateVideo, of an image, ${base}`, async () => {
    const prompt = { text: "Zoom in", image: image() };
    isMade(await video({ model, prompt, duration: 5, providerOptions: fast }));
  });
}

for (const base of ["/api/v1", "/v1", "/openrouter/v1"]) {
  const model = createOpenRouter(to(base)).videoModel("kling", { pollIntervalMs: 100 });
  await call(`@openrouter/ai-sdk-provider: generateVideo, of an image, ${base}`, async () => {
    const prompt = { text: "Zoom in", image: image() };
    isMade(await video({ model, prompt, duration: 5 }));
  });
  await call(`@openrouter/ai-sdk-provider: generateVideo, ${base}`, async () =>
    isMade(await video({ model, prompt: "Waves roll in" })));
}
