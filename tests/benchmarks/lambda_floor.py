"""What one would write by hand: two Lambda functions that verify QStash's signature with keys of Secrets Manager, claim a
job in Postgres, send a mail in the one case, and note the end. With the same libraries, and nothing shared.

It is put into an asset in the place of `send_email`'s code, beside the packages of that function.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from datetime import UTC, datetime
from http.client import HTTPConnection
from urllib.parse import urlsplit

import jwt
import pg8000.dbapi
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BaseModel, EmailStr

logger = Logger(service="floor")
metrics = Metrics(namespace="floor", service="floor")
kept: dict[str, dict[str, str]] = {}
connections: list[pg8000.dbapi.Connection] = []


class Message(BaseModel):
    jobId: str  # noqa: N815
    type: str


class Welcome(BaseModel):
    to: EmailStr
    data: dict[str, str | None]


START = """
    WITH claimed AS (
        UPDATE job_executions SET status = 'processing', attempts = attempts + 1, lease_owner = gen_random_uuid(),
            lease_until = clock_timestamp() + interval '30 s', started_at = clock_timestamp()
        WHERE job_id = '{job_id}' AND status IN ('pending', 'retrying') AND attempts < max_attempts RETURNING *
    ), attempt AS (
        INSERT INTO job_attempts (job_id, attempt, generation, publication, lease_owner, cold_start)
        SELECT job_id, attempts, generation, publication, lease_owner, false FROM claimed
    )
    SELECT attempts, payload FROM claimed"""

FINISH = """
    WITH ended AS (
        UPDATE job_attempts SET outcome = 'completed', finished_at = clock_timestamp()
        WHERE job_id = '{job_id}' AND attempt = {attempt} AND outcome IS NULL RETURNING job_id
    )
    UPDATE job_executions SET status = 'completed', completed_at = clock_timestamp(), lease_until = NULL
    WHERE job_id IN (SELECT job_id FROM ended)"""


def probe(event, context):  # type: ignore[no-untyped-def]
    """Does nothing between the two statements."""
    return _serve(event, lambda _job_id, _payload: None)


def send_email(event, context):  # type: ignore[no-untyped-def]
    """Sends a mail between the two statements."""
    return _serve(event, _send)


def _serve(event, work):  # type: ignore[no-untyped-def]
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    if not _authentic(event, body):
        return {"statusCode": 401, "body": "{}"}
    message = Message.model_validate_json(body)
    logger.append_keys(job_id=message.jobId)
    attempt, payload = _run(START.format(job_id=message.jobId))[0]
    logger.info("Processing job")
    work(message.jobId, payload)
    _run(FINISH.format(job_id=message.jobId, attempt=attempt))
    logger.info("Job completed")
    metrics.add_metric("JobsCompleted", MetricUnit.Count, 1)
    metrics.flush_metrics()
    return {"statusCode": 200, "body": json.dumps({"jobId": message.jobId})}


def _authentic(event, body):  # type: ignore[no-untyped-def]
    keys = _secret("QSTASH_CURRENT_SIGNING_KEY")
    for name in ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"):
        try:
            claims = jwt.decode(
                event["headers"].get("upstash-signature", ""), keys[name], algorithms=["HS256"], issuer="Upstash"
            )
        except jwt.InvalidTokenError:
            continue
        digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()
        url = f"https://{event['requestContext']['domainName']}{event['rawPath']}"
        return claims["body"] == digest and claims["sub"].rstrip("/") == url.rstrip("/")
    return False


def _run(sql):  # type: ignore[no-untyped-def]
    if not connections:
        url = urlsplit(_secret("DATABASE_URL")["DATABASE_URL"])
        socket = f"{url.query.removeprefix('host=')}/.s.PGSQL.5432"
        connections.append(
            pg8000.dbapi.connect(user="postgres", database=url.path.lstrip("/"), unix_sock=socket, timeout=6)
        )
        connections[0].autocommit = True
    cursor = connections[0].cursor()
    cursor.execute("SET LOCAL statement_timeout = 5000;" + sql)
    return cursor.fetchall() if cursor.description else []


def _send(job_id, payload):  # type: ignore[no-untyped-def]
    import resend
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    mail = Welcome.model_validate(payload)
    templates = Environment(
        loader=FileSystemLoader(os.path.join(os.environ["LAMBDA_TASK_ROOT"], "functions/send_email/templates")),  # noqa: PTH118
        autoescape=select_autoescape(),
    )
    values = {
        "product": {"name": "Acme", "url": "https://example.com", "support": "a@example.com"},
        **_named(mail.data),
    }
    html, text = (templates.get_template(f"welcome.{kind}").render(values) for kind in ("html", "txt"))
    resend.api_key = _secret("RESEND_API_KEY")["RESEND_API_KEY"]
    resend.api_url = os.environ["RESEND_API_URL"]
    resend.Emails.send(
        {"from": "hello@example.com", "to": [mail.to], "subject": "Welcome", "html": html, "text": text},
        {"idempotency_key": job_id},
    )


def _named(data):  # type: ignore[no-untyped-def]
    return {"recipient_name": data.get("recipientName"), "login_url": data.get("loginUrl")}


def _secret(setting):  # type: ignore[no-untyped-def]
    arn = os.environ[setting]
    if arn not in kept:
        kept[arn] = json.loads(_ask({"SecretId": arn})["SecretString"])
    return kept[arn]


def _ask(question):  # type: ignore[no-untyped-def]
    host = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc
    body, now, region = json.dumps(question), datetime.now(UTC), os.environ["AWS_REGION"]
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": stamp,
        "x-amz-security-token": os.environ["AWS_SESSION_TOKEN"],
        "x-amz-target": "secretsmanager.GetSecretValue",
    }
    names = ";".join(headers)
    listed = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"POST\n/\n\n{listed}\n{names}\n{hashlib.sha256(body.encode()).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/secretsmanager/aws4_request"
    key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    connection = HTTPConnection(host, timeout=2)
    connection.request("POST", "/", body, headers)
    return json.load(connection.getresponse())
