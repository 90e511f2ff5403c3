"""A throwaway bucket and a throwaway key: SeaweedFS and moto's KMS, on free ports, stopped at the end.

They stand where `ops/setup` put them for the tests, with the AWS SDK for Python that moto brings along.
"""

import json
import os
import subprocess
import sys
import time

from throwaway import free_port

BIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".servers/s3/bin")
WHO = {
    "AWS_ACCESS_KEY_ID": "AKTHROWAWAY",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-demo",
    "AWS_EC2_METADATA_DISABLED": "true",
}
REGION, BUCKET, PREFIX = "eu-central-1", "vault", "demo"
SECONDS = 60


def free_port_with_grpc():
    """SeaweedFS speaks gRPC on the port that is 10,000 further on; the kernel hands out ports from 32768 on."""
    while (port := free_port()) > 55_000:
        pass
    return port


class Cloud:
    """A bucket that keeps versions and a key in KMS, as a configuration names them."""

    def __init__(self, folder, say):
        say("a throwaway SeaweedFS with a versioned bucket, and a throwaway KMS (moto) with a key")
        self.folder, self.servers, self.sockets = os.path.join(folder, "cloud"), [], []
        os.makedirs(self.folder)
        self.environment = WHO
        try:
            bucket, keys = self.seaweed(), self.moto()
            self.make("s3", bucket, f"create_bucket(Bucket='{BUCKET}')")
            versions = "VersioningConfiguration={'Status': 'Enabled'}"
            self.make("s3", bucket, f"put_bucket_versioning(Bucket='{BUCKET}', {versions})")
            key = self.make("kms", keys, "create_key()['KeyMetadata']['KeyId']")
        except BaseException:
            self.stop()
            raise
        self.key = f'kms = {{ key_id = "{key}", region = "{REGION}", endpoint = "{keys}" }}'
        self.store = f's3 = {{ bucket = "{BUCKET}", prefix = "{PREFIX}", endpoint = "{bucket}", path_style = true }}'

    def start(self, name, *arguments):
        if not os.access(os.path.join(BIN, name), os.X_OK):
            sys.exit(f"{name} is not in {BIN}; run ops/setup")
        log = open(os.path.join(self.folder, f"{name}.log"), "wb")
        command = [os.path.join(BIN, name), *arguments]
        self.servers.append(subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def seaweed(self):
        known = {"accessKey": WHO["AWS_ACCESS_KEY_ID"], "secretKey": WHO["AWS_SECRET_ACCESS_KEY"]}
        may = ["Admin", "Read", "Write", "List", "Tagging"]
        with open(os.path.join(self.folder, "identities.json"), "w", encoding="utf-8") as file:
            json.dump({"identities": [{"name": "demo", "credentials": [known], "actions": may}]}, file)
        master, volume, filer, s3 = (free_port_with_grpc() for _ in range(4))
        for kind, port in (("master", master), ("volume", volume), ("filer", filer), ("s3", s3)):
            self.sockets += [f"/tmp/seaweedfs-{kind}-{port}.sock", f"/tmp/seaweedfs-{kind}-grpc-{port + 10_000}.sock"]
        ports = [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}"]
        where = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}", "-s3.config=identities.json"]
        # What listens on a fixed port would let one server at a time live on this machine.
        more = ["-volume.max=50", "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        self.start("weed", "server", "-filer", "-s3", *more, *where, *ports)
        return f"http://127.0.0.1:{s3}"

    def moto(self):
        port = free_port()
        self.start("moto_server", "-H", "127.0.0.1", "-p", str(port))
        return f"http://127.0.0.1:{port}"

    def make(self, service, endpoint, call):
        """Asks a server until it answers: it has to know its volumes, for instance, before it makes a bucket."""
        client = f"boto3.client('{service}', endpoint_url='{endpoint}', region_name='{REGION}')"
        script = f"import boto3\nprint({client}.{call})"
        begun = time.monotonic()
        while True:
            command = [os.path.join(BIN, "python3"), "-c", script]
            asked = subprocess.run(command, env={**os.environ, **WHO}, text=True, capture_output=True)
            if asked.returncode == 0:
                return asked.stdout.strip()
            if time.monotonic() - begun > SECONDS or any(server.poll() is not None for server in self.servers):
                sys.exit(f"{service} does not start:\n{asked.stderr}")
            time.sleep(0.2)

    def stop(self):
        for server in self.servers:
            server.kill()
            server.wait()
        for left_behind in filter(os.path.exists, self.sockets):
            os.remove(left_behind)
