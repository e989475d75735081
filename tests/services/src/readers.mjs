// Reads a bucket or a container with its vendor's own client. What it prints is JSON: [[name, bytes in hexadecimal], …].
const [task, url, id, key, bucket, more] = process.argv.slice(1);
const print = (text) => process.stdout.write(text);

async function azure() {
  const sdk = await import("@azure/storage-blob");
  const credential = new sdk.StorageSharedKeyCredential(id, key);
  const container = new sdk.BlobServiceClient(url, credential).getContainerClient(bucket);
  return { sdk, credential, container };
}

const tasks = {
  async s3() {
    const { S3Client, ListObjectsV2Command, GetObjectCommand } = await import("@aws-sdk/client-s3");
    const credentials = { accessKeyId: id, secretAccessKey: key };
    const client = new S3Client({ endpoint: url, region: "us-east-1", forcePathStyle: true, credentials });
    const found = [];
    let token;
    do {
      const page = await client.send(new ListObjectsV2Command({ Bucket: bucket, ContinuationToken: token }));
      for (const { Key } of page.Contents ?? []) {
        const object = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
        found.push([Key, Buffer.from(await object.Body.transformToByteArray()).toString("hex")]);
      }
      token = page.NextContinuationToken;
    } while (token);
    print(JSON.stringify(found));
  },
  async azure() {
    const { container } = await azure();
    const found = [];
    for await (const blob of container.listBlobsFlat()) {
      found.push([blob.name, (await container.getBlobClient(blob.name).downloadToBuffer()).toString("hex")]);
    }
    print(JSON.stringify(found));
  },
  async "azure-make"() {
    await (await azure()).container.create();
  },
  async "azure-sas"() {
    const { sdk, credential } = await azure();
    const permissions = sdk.ContainerSASPermissions.parse(more);
    const expiresOn = new Date(Date.now() + 3_600_000);
    print(sdk.generateBlobSASQueryParameters({ containerName: bucket, permissions, expiresOn }, credential).toString());
  },
};
await tasks[task]();
