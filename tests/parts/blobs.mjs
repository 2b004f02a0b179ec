// Blob storage from the outside, by Microsoft's own client.
//
//   node blobs.mjs create CONTAINER
//   node blobs.mjs list CONTAINER [PREFIX]              one JSON list of {name, size}
//   node blobs.mjs download CONTAINER FOLDER            every blob, under its name
//
// The account is in the environment variable AZURE_STORAGE_CONNECTION_STRING.
import { mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BlobServiceClient } from '@azure/storage-blob';

const [action, container, argument] = process.argv.slice(2);
const service = BlobServiceClient.fromConnectionString(process.env.AZURE_STORAGE_CONNECTION_STRING);
const client = service.getContainerClient(container);

if (action === 'create') {
  await client.create();
} else if (action === 'list') {
  const blobs = [];
  for await (const blob of client.listBlobsFlat({ prefix: argument })) {
    blobs.push({ name: blob.name, size: blob.properties.contentLength });
  }
  console.log(JSON.stringify(blobs));
} else if (action === 'download') {
  for await (const blob of client.listBlobsFlat()) {
    const path = join(argument, blob.name);
    await mkdir(dirname(path), { recursive: true });
    // Under another name until it is whole, for readers that look meanwhile.
    await client.getBlobClient(blob.name).downloadToFile(`${path}.part`);
    await rename(`${path}.part`, path);
  }
} else {
  console.error(`unknown action ${action}`);
  process.exit(2);
}
