/** Fonts are files of the build: their import gives the path. */
declare module "*.ttf" {
  const path: string;
  export default path;
}
