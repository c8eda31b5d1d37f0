export default {
  gateway: {
    input: "../../../openapi/openapi.json",
    output: { target: "made/orval.ts", client: "fetch", baseUrl: process.env.GATEWAY_URL, override: { formData: false } },
  },
};
