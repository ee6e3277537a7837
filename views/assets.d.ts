/** Files that are embedded rather than imported: their module is the path to read them from. */
declare module "*.css" {
  const path: string;
  export default path;
}
declare module "*.svg" {
  const path: string;
  export default path;
}
declare module "*.js" {
  const path: string;
  export default path;
}
