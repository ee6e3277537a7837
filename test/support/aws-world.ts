/**
 * A fetch in front of moto that adds what moto lacks (client tokens, price list, quotas, SSM parameters of AWS, spot
 * prices and interruptions) and injects faults.
 */
import { randomUUID } from "node:crypto";

interface AwsCall {
  /** `RunInstances`, `GetParameter`, … */
  action: string;
  region: string;
  /** The fields of a request to EC2; empty for the other services. */
  form: URLSearchParams;
  body: string;
}

interface Fault {
  action: string;
  region?: string;
  /** How often; default once. */
  times?: number;
  /** AWS's code of the answer; absent = the connection breaks. */
  code?: string;
  status?: number;
  headers?: Record<string, string>;
  /** The request is carried out before its answer is replaced. */
  after?: boolean;
  /** Only for pages after the first. */
  later?: boolean;
  /** Only for launches in this zone. */
  zone?: string;
  /** The request is answered with success, and nothing is done. */
  ignored?: boolean;
}

const xml = (body: string, status = 200, headers: Record<string, string> = {}) =>
  new Response(body, { status, headers: { "content-type": "text/xml", ...headers } });

const errorXml = (code: string) =>
  `<?xml version="1.0"?><Response><Errors><Error><Code>${code}</Code><Message>${code} of the test</Message></Error></Errors><RequestID>${randomUUID()}</RequestID></Response>`;

const json = (body: unknown, status = 200) =>
  new Response(JSON.stringify(body), { status, headers: { "content-type": "application/x-amz-json-1.1" } });

const jsonError = (code: string, status = 400) => json({ __type: code, message: `${code} of the test` }, status);

/** An entry of AWS's price list. */
const entry = (instanceType: string, USD: string) =>
  JSON.stringify({
    product: { attributes: { instanceType } },
    terms: { OnDemand: { a: { priceDimensions: { b: { unit: "Hrs", pricePerUnit: { USD } } } } } },
  });

export interface AwsWorld {
  fetch: typeof fetch;
  calls: AwsCall[];
  count(action: string): number;
  fail(fault: Fault): void;
  /** Machines on a page; null = as many as were asked for. */
  pageSize: number | null;
  /** The next `times` looks at machines show none. */
  hide(times: number): void;
  /** Machines whose end AWS caused, with its code. */
  taken: Map<string, string>;
  /** USD per hour of spot machines by type. */
  spotPrices: Map<string, string>;
  /** The price list on demand by type; null = the key may not read it. */
  listed: Map<string, string> | null;
  /** Quotas by code; others are unknown. */
  quotas: Map<string, number>;
  /** SSM parameters by name. */
  parameters: Map<string, string>;
  /** Regions that the account has not enabled. */
  disabled: Set<string>;
  reset(): void;
}

/** Wraps requests to moto. */
export function awsWorld(): AwsWorld {
  let faults: Fault[] = [];
  let hidden = 0;
  const tokens = new Map<string, { request: string; answer: string }>();

  function readCall(init: RequestInit | undefined): AwsCall {
    const headers = new Headers(init?.headers);
    const body = init?.body instanceof Uint8Array ? new TextDecoder().decode(init.body) : String(init?.body ?? "");
    const target = headers.get("x-amz-target");
    const form = new URLSearchParams(target ? "" : body);
    const [, region = ""] = /Credential=[^/]+\/\d+\/([^/]+)\//.exec(headers.get("authorization") ?? "") ?? [];
    return { action: target?.split(".").at(-1) ?? form.get("Action") ?? "", region, form, body };
  }

  /** What moto does not know, or null. */
  function extra({ action, body }: AwsCall): Response | null {
    const given = action.startsWith("Get") && body.startsWith("{") ? JSON.parse(body) : {};
    if (action === "GetProducts")
      return world.listed
        ? json({ PriceList: [...world.listed].map(([type, price]) => entry(type, price)), FormatVersion: "aws_v1" })
        : jsonError("AccessDeniedException");
    if (action === "GetServiceQuota") {
      const Value = world.quotas.get(given.QuotaCode);
      return Value === undefined ? jsonError("AccessDeniedException") : json({ Quota: { Value } });
    }
    const value = action === "GetParameter" ? world.parameters.get(given.Name) : undefined;
    return value === undefined ? null : json({ Parameter: { Name: given.Name, Value: value } });
  }

  /** One answer per client token, as EC2 keeps it. */
  async function once(call: AwsCall, send: () => Promise<string>): Promise<Response> {
    const token = call.form.get("ClientToken") ?? randomUUID();
    const { form } = call;
    const request = ["InstanceType", "ImageId", "UserData", "Placement.AvailabilityZone"]
      .map((name) => form.get(name))
      .join();
    const before = tokens.get(token);
    if (before && before.request !== request) return xml(errorXml("IdempotentParameterMismatch"), 400);
    const answer = before?.answer ?? (await send());
    tokens.set(token, { request, answer });
    return xml(answer);
  }

  function change({ action }: AwsCall, text: string): string {
    if (action === "DescribeInstances") {
      if (hidden > 0) {
        hidden--;
        return text.replace(/<reservationSet>[\s\S]*<\/reservationSet>/, "<reservationSet/>");
      }
      return [...world.taken].reduce((all, [id, code]) => {
        const reason = new RegExp(`<stateReason><code>[^<]*((?:(?!<stateReason>)[\\s\\S])*<instanceId>${id}<)`);
        return all.replace(reason, `<stateReason><code>${code}$1`);
      }, text);
    }
    if (action === "DescribeSpotPriceHistory")
      return text.replace(/<item>[\s\S]*?<\/item>/g, (item) => {
        const type = /<instanceType>([^<]+)</.exec(item)?.[1] ?? "";
        return item.replace(/<spotPrice>[^<]*/, `<spotPrice>${world.spotPrices.get(type) ?? "0.3"}`);
      });
    if (action === "DescribeRegions")
      return [...world.disabled].reduce(
        (all, region) =>
          all.replace(new RegExp(`(<regionName>${region}</regionName>[\\s\\S]*?<optInStatus>)[^<]*`), "$1not-opted-in"),
        text.replace(/(<optInStatus>[^<]*<\/optInStatus>)([\s\S]*?)(<regionName>[^<]*<\/regionName>)/g, "$3$2$1"),
      );
    return text;
  }

  const smaller = ({ form }: AwsCall, size: number) => {
    const body = new URLSearchParams(form);
    body.set("MaxResults", String(size));
    return { body: body.toString() };
  };

  const world: AwsWorld = {
    fetch: (async (input: string | URL | Request, init?: RequestInit) => {
      const call = readCall(init);
      world.calls.push(call);
      const known = extra(call);
      const send = async (): Promise<Response> => {
        if (known) return known;
        const ask = async () => {
          const paged = world.pageSize && call.action === "DescribeInstances" ? smaller(call, world.pageSize) : {};
          const answer = await fetch(input as string, { ...init, ...paged });
          return { answer, text: change(call, await answer.text()) };
        };
        if (call.action === "RunInstances" && !call.form.has("DryRun"))
          return once(call, async () => (await ask()).text);
        const { answer, text } = await ask();
        return new Response(text, {
          status: answer.status,
          headers: { "content-type": answer.headers.get("content-type") ?? "" },
        });
      };
      const fault = faults.find(
        ({ action, region, later, zone }) =>
          action === call.action &&
          [call.region, undefined].includes(region) &&
          [call.form.get("Placement.AvailabilityZone"), undefined].includes(zone) &&
          (!later || call.form.has("NextToken")),
      );
      if (!fault) return send();
      fault.times = (fault.times ?? 1) - 1;
      if (fault.times <= 0) faults = faults.filter((one) => one !== fault);
      if (fault.ignored) return xml(`<?xml version="1.0"?><${call.action}Response></${call.action}Response>`);
      if (fault.after) await send();
      if (!fault.code) throw new TypeError("the connection broke");
      if (call.body.startsWith("{")) return jsonError(fault.code, fault.status ?? 400);
      return xml(errorXml(fault.code), fault.status ?? 400, fault.headers);
    }) as typeof fetch,
    calls: [],
    count: (action) => world.calls.filter((call) => call.action === action).length,
    fail: (fault) => void faults.push({ ...fault }),
    hide: (times) => {
      hidden = times;
    },
    pageSize: null,
    taken: new Map(),
    spotPrices: new Map(),
    listed: new Map(),
    quotas: new Map(),
    parameters: new Map(),
    disabled: new Set(),
    reset() {
      faults = [];
      hidden = 0;
      world.pageSize = null;
      tokens.clear();
      world.calls.length = 0;
      for (const one of [world.taken, world.spotPrices, world.quotas, world.parameters, world.disabled]) one.clear();
      world.listed = new Map([
        ["g4dn.xlarge", "0.5260000000"],
        ["g5.xlarge", "1.0060000000"],
        ["g6.xlarge", "0.8048000000"],
      ]);
    },
  };
  world.reset();
  return world;
}
