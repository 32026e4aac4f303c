// Reads a JSON list of Kubernetes objects of kinds that CRDs define, and writes a JSON list of what the
// schemas of @kubernetes-models say of each: null, or what is wrong.
//
//   node crd_schemas.mjs FOLDER < OBJECTS    FOLDER: where tests/run installed the schemas
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const models = resolve(process.argv[2], "node_modules/@kubernetes-models");

async function judge(object) {
  const file = `${object.apiVersion}/${object.kind}.js`;
  const found = readdirSync(models).map((name) => join(models, name, file)).filter(existsSync);
  if (found.length !== 1) return `${found.length} schemas for ${file}`;
  const model = (await import(pathToFileURL(found[0]).href))[object.kind];
  try {
    new model(object).validate();
    return null;
  } catch (error) {
    return error.message;
  }
}

const objects = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(objects.map(judge))));
