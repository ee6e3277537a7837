/** GET /metrics: the figures of the installation for Prometheus. */
import { timingSafeEqual } from "node:crypto";
import { Elysia } from "elysia";
import { VERSION } from "../assets.ts";
import type { Config } from "../config.ts";
import type { Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { answersType } from "../http/answers.ts";
import { peerReader } from "../http/peer.ts";
import { readMonitoring } from "../insights/installation/monitoring.ts";
import { PROMETHEUS_TYPE } from "../lib/text/prometheus.ts";

const LOOPBACK = /^(?:local|127(?:\.\d{1,3}){3}|::1)$/;
/** Headers that proxies add. */
const FORWARDED = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

const sha256 = (text: string) => new Bun.CryptoHasher("sha256").update(text).digest();

/** Whether a request has the token of the setting. */
function hasToken(config: Config, request: Request): boolean {
  const given = /^bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  if (!config.metrics_token || !given) return false;
  return timingSafeEqual(sha256(given), sha256(config.metrics_token));
}

/** Whether a proxy may have passed a request on: then its peer says nothing about who sent it. */
const mayBeForwarded = (config: Config, request: Request) =>
  config.public_url !== null ||
  config.trusted_proxies.length > 0 ||
  FORWARDED.some((name) => request.headers.has(name));

const refused = () =>
  new AppError(
    "unauthenticated",
    "metrics_token_required",
    "Metrics are open to programs on the server's own machine without a proxy, and to requests with `Authorization: Bearer` and the token of the setting metrics_token.",
  );

export const monitoringApi = (ctx: Ctx) => {
  const addressOf = peerReader(ctx.config);
  return new Elysia({ name: "monitoring.api", seed: ctx.installation }).get(
    "/metrics",
    async ({ request, server }) => {
      const isLocal = !mayBeForwarded(ctx.config, request) && LOOPBACK.test(addressOf(server, request));
      if (!isLocal && !hasToken(ctx.config, request)) throw refused();
      return new Response(await readMonitoring(ctx, VERSION), {
        headers: { "content-type": PROMETHEUS_TYPE, "cache-control": "no-store" },
      });
    },
    {
      detail: {
        tags: ["Server"],
        summary: "Metrics of the installation for Prometheus",
        description:
          "Open to programs on the server's own machine without a proxy, and to requests with the token of the setting `metrics_token` as bearer token.",
        responses: answersType("text/plain", "Prometheus' text format."),
      },
    },
  );
};
