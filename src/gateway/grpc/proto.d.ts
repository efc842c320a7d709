/** Proto files are part of the program: the bundler puts their text into it. */
declare module "*.proto" {
  const text: string;
  export default text;
}
