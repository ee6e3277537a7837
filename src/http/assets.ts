/**
 * Elysia plugin that serves stylesheets and scripts: embedded in the binary, compressed once, cached forever under an
 * address that changes with their content.
 */
import { Elysia } from "elysia";
import htmx from "../../node_modules/htmx.org/dist/htmx.min.js" with { type: "file" };
import uplot from "../../node_modules/uplot/dist/uPlot.esm.js" with { type: "file" };
import uplotCss from "../../node_modules/uplot/dist/uPlot.min.css" with { type: "file" };
import app from "../../views/assets/app.js" with { type: "file" };
import bars from "../../views/assets/bars.js" with { type: "file" };
import chart from "../../views/assets/chart.js" with { type: "file" };
import chartFormat from "../../views/assets/chart-format.js" with { type: "file" };
import chartImage from "../../views/assets/chart-image.js" with { type: "file" };
import adminCss from "../../views/assets/css/admin.css" with { type: "file" };
import bareCss from "../../views/assets/css/bare.css" with { type: "file" };
import baseCss from "../../views/assets/css/base.css" with { type: "file" };
import chartCss from "../../views/assets/css/chart.css" with { type: "file" };
import filtersCss from "../../views/assets/css/filters.css" with { type: "file" };
import floatCss from "../../views/assets/css/float.css" with { type: "file" };
import formsCss from "../../views/assets/css/forms.css" with { type: "file" };
import gridCss from "../../views/assets/css/grid.css" with { type: "file" };
import hostsCss from "../../views/assets/css/hosts.css" with { type: "file" };
import jobsCss from "../../views/assets/css/jobs.css" with { type: "file" };
import layoutCss from "../../views/assets/css/layout.css" with { type: "file" };
import noticesCss from "../../views/assets/css/notices.css" with { type: "file" };
import pagesCss from "../../views/assets/css/pages.css" with { type: "file" };
import partsCss from "../../views/assets/css/parts.css" with { type: "file" };
import queueCss from "../../views/assets/css/queue.css" with { type: "file" };
import statusCss from "../../views/assets/css/status.css" with { type: "file" };
import sweepsCss from "../../views/assets/css/sweeps.css" with { type: "file" };
import tableCss from "../../views/assets/css/table.css" with { type: "file" };
import tokensCss from "../../views/assets/css/tokens.css" with { type: "file" };
import usageCss from "../../views/assets/css/usage.css" with { type: "file" };
import icon from "../../views/assets/icon.svg" with { type: "file" };
import log from "../../views/assets/log.js" with { type: "file" };
import notify from "../../views/assets/notify.js" with { type: "file" };
import palette from "../../views/assets/palette.js" with { type: "file" };
import passkey from "../../views/assets/passkey.js" with { type: "file" };
import picks from "../../views/assets/picks.js" with { type: "file" };
import playground from "../../views/assets/playground.js" with { type: "file" };
import playgroundCode from "../../views/assets/playground-code.js" with { type: "file" };
import playgroundState from "../../views/assets/playground-state.js" with { type: "file" };
import playgroundTraining from "../../views/assets/playground-training.js" with { type: "file" };
import saveRow from "../../views/assets/save-row.js" with { type: "file" };
import series from "../../views/assets/series.js" with { type: "file" };
import session from "../../views/assets/session.js" with { type: "file" };
import stream from "../../views/assets/stream.js" with { type: "file" };
import toolCalls from "../../views/assets/tool-calls.js" with { type: "file" };
import upload from "../../views/assets/upload.js" with { type: "file" };
import type { Ctx } from "../ctx.ts";
import { notFound } from "../errors.ts";

/** Every asset by the name in its address; several parts are joined into one file. */
const FILES: Record<string, { type: string; parts: string[] }> = {
  "app.css": {
    type: "text/css; charset=utf-8",
    parts: [
      tokensCss,
      baseCss,
      layoutCss,
      gridCss,
      bareCss,
      partsCss,
      floatCss,
      formsCss,
      filtersCss,
      tableCss,
      uplotCss,
      chartCss,
      pagesCss,
      hostsCss,
      jobsCss,
      noticesCss,
      queueCss,
      statusCss,
      sweepsCss,
      usageCss,
      adminCss,
    ],
  },
  "icon.svg": { type: "image/svg+xml", parts: [icon] },
  ...Object.fromEntries(
    Object.entries({
      htmx,
      uplot,
      app,
      bars,
      chart,
      log,
      notify,
      palette,
      passkey,
      picks,
      playground,
      series,
      session,
      stream,
      upload,
      "chart-format": chartFormat,
      "chart-image": chartImage,
      "playground-code": playgroundCode,
      "playground-state": playgroundState,
      "playground-training": playgroundTraining,
      "save-row": saveRow,
      "tool-calls": toolCalls,
    }).map(([name, path]) => [`${name}.js`, { type: "text/javascript; charset=utf-8", parts: [path] }]),
  ),
};

interface Asset {
  type: string;
  plain: Uint8Array<ArrayBuffer>;
  zipped: Uint8Array<ArrayBuffer>;
  etag: string;
}

async function load(): Promise<{ version: string; assets: Map<string, Asset> }> {
  const all = new Bun.CryptoHasher("sha256");
  const assets = new Map<string, Asset>();
  for (const [name, { type, parts }] of Object.entries(FILES)) {
    const texts = await Promise.all(parts.map((path) => Bun.file(path).text()));
    const plain = new TextEncoder().encode(texts.join("\n"));
    all.update(plain);
    const etag = `"${Bun.hash(plain).toString(36)}"`;
    assets.set(name, { type, plain, zipped: Bun.gzipSync(plain, { level: 9 }), etag });
  }
  return { version: all.digest("hex").slice(0, 10), assets };
}

const loaded = await load();

/** Prefix of asset addresses: `/assets/<version>/`. */
export function assetBase(): string {
  return `/assets/${loaded.version}/`;
}

/** `GET /assets/<version>/<name>`, and `/assets/<name>` for pages without a version. */
export const assets = (ctx: Ctx) =>
  new Elysia({ name: "assets", seed: ctx.installation }).get("/assets/*", ({ request, params }) => {
    const path = params["*"].split("/");
    const name = path.at(-1) ?? "";
    const asset = loaded.assets.get(name);
    if (!asset || path.length > 2) throw notFound("asset", params["*"]);
    const headers: Record<string, string> = {
      "content-type": asset.type,
      etag: asset.etag,
      vary: "accept-encoding",
      "cache-control": path[0] === loaded.version ? "public, max-age=31536000, immutable" : "no-cache",
    };
    if (request.headers.get("if-none-match") === asset.etag) return new Response(null, { status: 304, headers });
    const zip = (request.headers.get("accept-encoding") ?? "").includes("gzip");
    if (zip) headers["content-encoding"] = "gzip";
    return new Response(zip ? asset.zipped : asset.plain, { headers });
  });
