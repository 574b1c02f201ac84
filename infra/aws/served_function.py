"""The functions that something calls at their addresses: one of each job type, and those that serve none."""

from __future__ import annotations

from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.aws import plain_function
from infra.aws.alarms import Alarms
from infra.aws.functions import Function
from infra.aws.surroundings import Surroundings


class ServedFunction(Construct):
    """A function with its address, which is published in SSM."""

    def __init__(self, scope: Construct, of: Function, surroundings: Surroundings, description: str) -> None:
        super().__init__(scope, construct_id(of.name))
        context = surroundings.context
        self.of = of
        self.function, self.log_group = plain_function.function(
            self,
            surroundings,
            name=of.name,
            description=description,
            code=surroundings.built.functions[of.folder],
            handler=of.handler,
            environment=surroundings.environment(of),
            statements=surroundings.statements(of),
            timeout=of.timeout,
            memory=of.memory,
            ephemeral_storage=of.ephemeral_storage,
            reserved_concurrency=of.concurrency if context.reserved_concurrency == "options" else None,
            in_network=of.needs_database,
        )
        # With NONE, CDK adds both permissions that an address needs since October 2025: InvokeFunctionUrl, and
        # InvokeFunction by way of an address.
        self.url = self.function.add_function_url(auth_type=lambda_.FunctionUrlAuthType[of.auth])
        self.url_parameter = ssm.StringParameter(
            self,
            "UrlParameter",
            parameter_name=f"{context.names.urls_path}{of.name}",
            string_value=self.url.url,
            description=f"Where {of.name} answers",
        )


class JobFunction(ServedFunction):
    """One job type's. QStash cannot sign with IAM, so anybody may call its address, and the signature decides."""

    def __init__(self, scope: Construct, of: Function, surroundings: Surroundings, alarms: Alarms) -> None:
        super().__init__(scope, of, surroundings, f"Runs the job type {of.name}")
        alarms.of_job(self, self.function, of)


class WebFunction(ServedFunction):
    """One that serves no job type: its callers are QStash's callbacks, providers or people."""

    def __init__(self, scope: Construct, of: Function, surroundings: Surroundings, alarms: Alarms) -> None:
        super().__init__(scope, of, surroundings, f"Answers requests as {of.name}")
        alarms.of_web(self, self.function, of)


def construct_id(name: str) -> str:
    """`send-email` as CDK's constructs are called: `SendEmail`. Logical ids are made of it, so it must never change."""
    return "".join(word.capitalize() for word in name.split("-"))
