/** The `Authorization` header of an MLflow server, from MLflow's own variables of the environment. */

/** The header of a bearer token, or of a name and password; null without both. */
export function mlflowAuthorization(env: Record<string, string | undefined>): string | null {
  const { MLFLOW_TRACKING_TOKEN: token, MLFLOW_TRACKING_USERNAME: name, MLFLOW_TRACKING_PASSWORD: password } = env;
  if (token) return `Bearer ${token}`;
  return name ? `Basic ${Buffer.from(`${name}:${password ?? ""}`).toString("base64")}` : null;
}
