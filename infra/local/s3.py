"""`python -m infra.local.s3`: S3 for development, by moto's server. What it holds is gone when it ends."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Annotated

import boto3
import typer
from moto.server import ThreadedMotoServer

from qstash_jobs.bucket import KEPT


def run(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen on loopback; 0 takes a free port.")] = 0,
    bucket: Annotated[str, typer.Option(help="The bucket to make.")] = "jobs-desk",
) -> None:
    """S3 for development: one private bucket, encrypted, whose files end as in the cloud."""
    told_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told_to_stop.set())
    try:
        # It would wait for ever for its thread, which dies of a port that is taken.
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        typer.echo(f"Error: port {port}: {os.strerror(error.errno or 0)}; choose another with --port", err=True)
        raise typer.Exit(1) from None
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        make_bucket(url, bucket)
        typer.echo(f"S3 is at {url}, with the bucket {bucket}; nothing is kept when it ends.")
        told_to_stop.wait()
    finally:
        server.stop()


def make_bucket(url: str, name: str) -> None:
    """A bucket with the encryption and the lifecycle that a stage's has."""
    client = boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="desk", aws_secret_access_key="desk", region_name="us-east-1"
    )
    client.create_bucket(Bucket=name)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    client.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    rules = [
        {
            "ID": prefix.strip("/"),
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "Expiration": {"Days": kept.days},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
        for prefix, kept in KEPT.items()
    ]
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})


if __name__ == "__main__":
    typer.run(run)
