// The calls of the package `kling-api` for videos. It refuses a base URL without https, so a TLS proxy is between.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KlingAPI } from "kling-api";
import { IMAGE, JWT_ACCESS, JWT_SECRET, URL as GATEWAY, call, check, until } from "./calls.mjs";

process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
const folder = mkdtempSync(join(tmpdir(), "kling-api-"));
const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
const subject = ["-subj", "/CN=127.0.0.1", "-days", "1", "-nodes", "-newkey", "rsa:2048"];
execFileSync("openssl", ["req", "-x509", ...subject, "-keyout", key, "-out", cert], { stdio: "ignore" });
const proxy = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (incoming, answer) => {
  const { method, headers } = incoming;
  incoming.pipe(
    request(GATEWAY + incoming.url, { method, headers }, (ours) => {
      answer.writeHead(ours.statusCode, ours.headers);
      ours.pipe(answer);
    }),
  );
});
await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));

const ENDED = ["succeed", "failed"];
for (const base of ["", "/kling"]) {
  const baseUrl = `https://127.0.0.1:${proxy.address().port}${base}`;
  const client = new KlingAPI({ accessKey: JWT_ACCESS, secretKey: JWT_SECRET, baseUrl });
  const at = base || "/";
  let task;
  await call(`textToVideo, ${at}`, async () => {
    const asked = { model_name: "kling-v1", prompt: "Waves", mode: "std", aspect_ratio: "16:9", duration: "5" };
    task = (await client.textToVideo({ ...asked, cfg_scale: 0.5, external_task_id: `order-${Date.now()}` })).data;
    check(task.task_status === "submitted");
  });
  await call(`queryTextToVideoTask, ${at}`, async () => {
    const read = () => client.queryTextToVideoTask(task.task_id);
    const { data } = await until(read, (answer) => ENDED.includes(answer.data.task_status));
    check(data.task_status === "succeed" && data.task_result.videos[0].url);
  });
  await call(`imageToVideo, ${at}`, async () => {
    const asked = { model_name: "kling-v1", prompt: "Zoom", mode: "std", duration: "5" };
    task = (await client.imageToVideo({ ...asked, image: readFileSync(IMAGE).toString("base64") })).data;
  });
  await call(`queryImageToVideoTask, ${at}`, async () => {
    const read = () => client.queryImageToVideoTask(task.task_id);
    const { data } = await until(read, (answer) => ENDED.includes(answer.data.task_status));
    check(data.task_status === "succeed");
  });
}
proxy.close();
