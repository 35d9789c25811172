"""CloudFormation templates as Python values, with parameters and conditions put in."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import yaml

from tests.running import ROOT

ACCOUNT, REGION = "123456789012", "eu-west-1"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
_NO_VALUE = object()


# what AWS's documentation says is needed to pull an image, to push one, and to write to a log group
PULL = {"ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"}
PUSH = {
    "ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload",
    "ecr:BatchGetImage", "ecr:PutImage",
}  # fmt: skip
LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}


class _Loader(yaml.SafeLoader):
    """Reads !Ref and its like as the mappings that they abbreviate."""


def _function(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _function)


def load(name: str) -> dict[str, Any]:
    """The template infra/<name>.yml, its functions in their long form."""
    return yaml.load(Path(ROOT, "infra", f"{name}.yml").read_text(), _Loader)


class Stack:
    """A template with its parameters: `resources` are those that its conditions ask for, every function worked out.

    What only AWS can know stays as text: "<Table>" for a reference, "<Table.Arn>" for an attribute.
    """

    def __init__(self, name: str, **parameters: str) -> None:
        self.template = load(name)
        described = self.template["Parameters"]
        assert not parameters.keys() - described.keys()
        self.parameters = {key: str(value.get("Default", "")) for key, value in described.items()} | parameters
        self.conditions: dict[str, bool] = {}
        for key, value in self.template.get("Conditions", {}).items():
            self.conditions[key] = self.value(value)
        self.resources = {
            key: self.value(resource)
            for key, resource in self.template["Resources"].items()
            if self.conditions.get(resource.get("Condition"), True)
        }

    def properties(self, name: str) -> dict[str, Any]:
        return self.resources[name].get("Properties", {})

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of a type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((key, argument),) = node.items()
            if key == "Ref":
                return self._reference(argument)
            if key.startswith("Fn::"):
                return getattr(self, f"_{key[4:].lower()}")(argument)
        values = ((key, self.value(value)) for key, value in node.items())
        return {key: value for key, value in values if value is not _NO_VALUE}

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        return self.parameters.get(name, PSEUDO.get(name, f"<{name}>"))

    def _getatt(self, argument: list[str]) -> str:
        return f"<{'.'.join(argument)}>"

    def _sub(self, text: str) -> str:
        return re.sub(r"\$\{([^}!]+)\}", lambda m: f"<{m[1]}>" if "." in m[1] else str(self._reference(m[1])), text)

    def _if(self, argument: list[Any]) -> Any:
        return self.value(argument[1] if self.conditions[argument[0]] else argument[2])

    def _equals(self, argument: list[Any]) -> bool:
        first, second = self.value(argument)
        return first == second

    def _not(self, argument: list[Any]) -> bool:
        return not self.value(argument[0])

    def _join(self, argument: list[Any]) -> str:
        return argument[0].join(self.value(argument[1]))

    def _split(self, argument: list[Any]) -> list[str]:
        return self.value(argument[1]).split(argument[0])

    def _select(self, argument: list[Any]) -> Any:
        return self.value(argument[1])[int(argument[0])]

    def _getazs(self, _: Any) -> list[str]:
        return [f"{REGION}{zone}" for zone in "abc"]

    def _cidr(self, argument: list[Any]) -> list[str]:
        block, count, bits = self.value(argument)
        network = ipaddress.ip_network(block)
        subnets = network.subnets(new_prefix=network.max_prefixlen - int(bits))
        return [str(next(subnets)) for _ in range(int(count))]


def allowed(stack: Stack, role: str) -> dict[str, set[str]]:
    """The actions that the role's policy allows, by resource."""
    (policy,) = stack.properties(role)["Policies"]
    found: dict[str, set[str]] = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        actions, resources = (
            {each} if isinstance(each, str) else set(each) for each in (statement["Action"], statement["Resource"])
        )
        for resource in resources:
            found[resource] = found.get(resource, set()) | actions
    return found


def for_moto(name: str, supported: set[str], **parameters: str) -> dict[str, Any]:
    """The resources of the given types as a template without functions, but for references among them.

    moto knows no Fn::Cidr, and leaves out unsupported types without saying so but stumbles over references to them.
    """
    stack = Stack(name, **parameters)
    kept = {key: value for key, value in stack.resources.items() if value["Type"] in supported}

    def referring(node: Any) -> Any:
        if isinstance(node, list):
            return [referring(value) for value in node]
        if isinstance(node, dict):
            return {key: referring(value) for key, value in node.items()}
        if isinstance(node, str) and (match := re.fullmatch(r"<([\w:]+)(?:\.([\w.]+))?>", node)) and match[1] in kept:
            return {"Fn::GetAtt": [match[1], match[2]]} if match[2] else {"Ref": match[1]}
        return node

    resources = {key: {k: v for k, v in value.items() if k != "Condition"} for key, value in kept.items()}
    outputs = {key: {"Value": stack.value(value["Value"])} for key, value in stack.template["Outputs"].items()}
    return {
        "Parameters": stack.template["Parameters"],
        "Resources": referring(resources),
        "Outputs": referring(outputs),
    }
