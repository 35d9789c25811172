"""Fixtures: the two stacks with their defaults."""

from __future__ import annotations

import pytest

from tests.infra.template import Stack


@pytest.fixture(scope="session")
def service() -> Stack:
    return Stack("service")


@pytest.fixture(scope="session")
def https_service() -> Stack:
    """With everything that is optional: a certificate, a VPC of somebody's, an address for alarms."""
    return Stack(
        "service",
        CertificateArn="arn:aws:acm:eu-west-1:123456789012:certificate/1",
        VpcId="vpc-11111111",
        VpcCidr="172.20.0.0/16",
        LoadBalancerSubnets="subnet-11111111,subnet-22222222",
        TaskSubnets="subnet-33333333,subnet-44444444",
        AssignPublicIp="DISABLED",
        AlarmEmail="ops@example.com",
    )


@pytest.fixture(scope="session")
def pipeline() -> Stack:
    return Stack("pipeline", Repository="owner/name")
