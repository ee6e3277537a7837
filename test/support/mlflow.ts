/** A tracking server that answers as MLflow does, within its limits, and remembers what it was asked. */

interface Asked {
  path: string;
  body: Record<string, unknown>;
  authorization: string | null;
}

interface Tracking {
  url: string;
  asked: Asked[];
  stop(): void;
}

const unknown = () => Response.json({ error_code: "RESOURCE_DOES_NOT_EXIST", message: "no" }, { status: 404 });
const lengthOf = (value: unknown) => (Array.isArray(value) ? value.length : 0);

/** Starts the server: no experiments at first, and one run after `runs/create`. */
export function startTracking(): Tracking {
  const asked: Asked[] = [];
  let known = false;
  const answers: Record<string, () => Response> = {
    "experiments/get-by-name": unknown,
    "experiments/create": () => Response.json({ experiment_id: "7" }),
    "runs/search": () => Response.json(known ? { runs: [{ info: { run_id: "r1" } }] } : {}),
    "runs/create": () => {
      known = true;
      return Response.json({ run: { info: { run_id: "r1" } } });
    },
    "runs/log-batch": () => Response.json({}),
    "runs/update": () => Response.json({}),
  };
  const server = Bun.serve({
    port: 0,
    async fetch(request) {
      const path = new URL(request.url).pathname.replace("/api/2.0/mlflow/", "");
      const body = request.method === "POST" ? ((await request.json()) as Record<string, unknown>) : {};
      asked.push({ path, body, authorization: request.headers.get("authorization") });
      if (lengthOf(body.metrics) > 1000 || lengthOf(body.params) > 100)
        return Response.json({ error_code: "INVALID_PARAMETER_VALUE", message: "too many" }, { status: 400 });
      return answers[path]?.() ?? unknown();
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, asked, stop: () => void server.stop(true) };
}
