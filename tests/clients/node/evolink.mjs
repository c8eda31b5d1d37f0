// The HTTP client inside `@evolinkai/evolink-media`, an MCP server for EvoLink, whose API is FoxAPI's.
import { apiRequest, queryTask } from "./node_modules/@evolinkai/evolink-media/dist/core/src/services/api-client.js";
import { KEY, URL, call, check, until } from "./calls.mjs";

process.env.EVOLINK_API_KEY = KEY;
const WAVES = { model: "kling-v3-text-to-video", prompt: "Waves", duration: 5, quality: "720p", aspect_ratio: "16:9" };

for (const base of ["", "/foxapi"]) {
  const config = { channel: "official", baseUrl: URL + base };
  const at = base || "/";
  let task;
  await call(`POST /v1/videos/generations, ${at}`, async () => {
    task = await apiRequest(config, { method: "POST", path: "/v1/videos/generations", body: WAVES });
    check(task.id && task.status);
  });
  await call(`GET /v1/tasks/{id}, ${at}`, async () => {
    const ended = await until(() => queryTask(config, task.id), ({ status }) => ["completed", "failed"].includes(status));
    check(ended.status === "completed" && ended.results.length, JSON.stringify(ended));
  });
}
