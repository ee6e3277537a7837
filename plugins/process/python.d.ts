/** Lets the launcher's Python source be imported as text, so that the compiled binary carries it. */
declare module "*.py" {
  const text: string;
  export default text;
}
