"""infra/service.yml, property by property."""

from __future__ import annotations

import operator
import re
from typing import Any

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.infra.template import LOG, PULL, REGION, Stack, allowed
from tests.running import ROOT


def container(stack: Stack) -> dict:
    (definition,) = stack.properties("TaskDefinition")["ContainerDefinitions"]
    return definition


def environment(stack: Stack) -> dict[str, str]:
    return {variable["Name"]: variable["Value"] for variable in container(stack)["Environment"]}


def attributes(properties: dict, key: str) -> dict[str, str]:
    return {attribute["Key"]: attribute["Value"] for attribute in properties[key]}


def ways(rules: list[dict]) -> list[tuple]:
    """What rules of a security group let through: protocol, ports, addresses."""
    return [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"], rule["CidrIp"]) for rule in rules]


def test_runs_the_stage_s_image_and_one_image_a_deployment(service: Stack) -> None:
    assert container(service)["Image"] == "123456789012.dkr.ecr.eu-west-1.amazonaws.com/flask-crud-app:prod"
    assert container(service)["VersionConsistency"] == "enabled"


def test_deployment_is_rolled_back_by_circuit_breaker_and_by_errors(service: Stack) -> None:
    deployment = service.properties("Service")["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["Alarms"] == {"Enable": True, "Rollback": True, "AlarmNames": ["<ErrorAlarm>"]}
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)


def test_desired_count_is_left_to_the_autoscaling(service: Stack) -> None:
    assert "DesiredCount" not in service.properties("Service")
    target = service.properties("ScalableTarget")
    assert target["ResourceId"] == "service/<Cluster>/<Service.Name>"
    assert target["ScalableDimension"] == "ecs:service:DesiredCount"
    assert (target["MinCapacity"], target["MaxCapacity"]) == ("2", "6")
    # a deployment at full size stays within the 6 vCPU that a new account may have
    assert 2 * int(target["MaxCapacity"]) * int(service.properties("TaskDefinition")["Cpu"]) / 1024 <= 6
    policy = service.properties("ScalingPolicy")
    assert policy["ScalingTargetId"] == "<ScalableTarget>"
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["PredefinedMetricSpecification"] == {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}


def test_container_has_no_privileges(service: Stack) -> None:
    definition = container(service)
    assert definition["ReadonlyRootFilesystem"] is True
    assert definition["User"] == "10001:0"
    parameters = definition["LinuxParameters"]
    assert parameters["Capabilities"] == {"Drop": ["ALL"]}
    (tmpfs,) = parameters["Tmpfs"]
    assert (tmpfs["ContainerPath"], tmpfs["MountOptions"]) == ("/tmp", ["noexec", "nosuid", "nodev"])
    # Fargate takes none of these
    assert not parameters.keys() & {"Devices", "SharedMemorySize", "MaxSwap", "Swappiness"}
    assert not definition.keys() & {"Privileged", "DockerSecurityOptions", "ExtraHosts", "Links"}


def test_container_is_told_of_the_stack_s_own_resources(service: Stack, https_service: Stack) -> None:
    assert environment(service) == {
        "PORT": "8080",
        "AWS_REGION": "eu-west-1",
        "TABLE_NAME": "<Table>",
        "COGNITO_USER_POOL_ID": "<UserPool>",
        "COGNITO_CLIENT_ID": "<UserPoolClient>",
        "TRUSTED_PROXIES": "10.0.0.0/16",
    }
    assert environment(https_service)["TRUSTED_PROXIES"] == "172.20.0.0/16"


def test_port_is_the_same_everywhere_and_needs_no_privilege(service: Stack) -> None:
    port = environment(service)["PORT"]
    assert int(port) >= 1024
    assert container(service)["PortMappings"] == [{"ContainerPort": port, "Protocol": "tcp"}]
    assert service.properties("TargetGroup")["Port"] == port
    assert service.properties("Service")["LoadBalancers"] == [
        {"ContainerName": container(service)["Name"], "ContainerPort": port, "TargetGroupArn": "<TargetGroup>"}
    ]
    lowest = service.template["Parameters"]["ContainerPort"]["MinValue"]
    assert lowest == 1024
    (ingress,) = service.properties("TaskSecurityGroup")["SecurityGroupIngress"]
    for way in (ingress, service.properties("LoadBalancerToTasks")):
        assert (way["IpProtocol"], way["FromPort"], way["ToPort"]) == ("tcp", port, port)


def test_logs_are_kept_and_never_block(service: Stack) -> None:
    configuration = container(service)["LogConfiguration"]
    assert configuration["LogDriver"] == "awslogs"
    assert configuration["Options"]["awslogs-group"] == "<LogGroup>"
    assert configuration["Options"]["mode"] == "non-blocking"


def test_service_runs_its_task_on_fargate_in_its_cluster(service: Stack) -> None:
    properties = service.properties("Service")
    assert (properties["Cluster"], properties["TaskDefinition"]) == ("<Cluster>", "<TaskDefinition>")
    assert properties["LaunchType"] == "FARGATE"


def test_tasks_of_the_own_vpc_and_clients_reach_each_other_through_the_internet(service: Stack) -> None:
    network = service.properties("Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "ENABLED"
    balancer = service.properties("LoadBalancer")
    assert balancer["Scheme"] == "internet-facing"
    assert network["Subnets"] == balancer["Subnets"] == ["<SubnetA>", "<SubnetB>"]
    route = service.properties("DefaultRoute")
    assert (route["DestinationCidrBlock"], route["GatewayId"]) == ("0.0.0.0/0", "<InternetGateway>")
    routed = service.of_type("AWS::EC2::SubnetRouteTableAssociation").values()
    assert [(each["SubnetId"], each["RouteTableId"]) for each in routed] == [
        ("<SubnetA>", "<RouteTable>"), ("<SubnetB>", "<RouteTable>"),
    ]  # fmt: skip


def test_own_vpc_has_two_zones_and_a_gateway_to_dynamodb(service: Stack) -> None:
    assert service.properties("Vpc")["CidrBlock"] == "10.0.0.0/16"
    subnets = service.of_type("AWS::EC2::Subnet").values()
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 2
    # room for two thousand tasks each
    assert [subnet["CidrBlock"] for subnet in subnets] == ["10.0.0.0/21", "10.0.8.0/21"]
    endpoint = service.properties("DynamoDbEndpoint")
    assert endpoint["VpcEndpointType"] == "Gateway"
    assert endpoint["ServiceName"] == "com.amazonaws.eu-west-1.dynamodb"
    assert endpoint["RouteTableIds"] == ["<RouteTable>"]
    (through,) = endpoint["PolicyDocument"]["Statement"]
    (policy,) = service.properties("TaskRole")["Policies"]
    (role,) = policy["PolicyDocument"]["Statement"]
    # what the role allows, the endpoint lets through
    assert (through["Effect"], through["Action"]) == (role["Effect"], role["Action"])


def test_given_vpc_is_used_and_none_is_made(https_service: Stack) -> None:
    for kind in ("VPC", "Subnet", "InternetGateway", "RouteTable", "VPCEndpoint"):
        assert not https_service.of_type(f"AWS::EC2::{kind}")
    network = https_service.properties("Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["Subnets"] == ["subnet-33333333", "subnet-44444444"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert https_service.properties("LoadBalancer")["Subnets"] == ["subnet-11111111", "subnet-22222222"]
    for name in ("LoadBalancerSecurityGroup", "TaskSecurityGroup", "TargetGroup"):
        assert https_service.properties(name)["VpcId"] == "vpc-11111111"


@pytest.mark.parametrize(
    ("given", "missing"), [("LoadBalancerSubnets", "TaskSubnets"), ("TaskSubnets", "LoadBalancerSubnets")]
)
def test_given_vpc_without_its_subnets_is_refused(given: str, missing: str) -> None:
    half = Stack("service", VpcId="vpc-11111111", **{given: "subnet-11111111"})
    rule = half.template["Rules"]["GivenVpcHasSubnets"]
    refused = [each["AssertDescription"] for each in rule["Assertions"] if not half.value(each["Assert"])]
    assert half.value(rule["RuleCondition"])
    assert refused == [f"With VpcId, {missing} are needed as well"]
    assert not Stack("service").value(rule["RuleCondition"])


@pytest.mark.parametrize(
    ("parameter", "value", "allowed"),
    [
        ("VpcCidr", "10.0.0.0/16", True),
        ("VpcCidr", "172.31.0.0/28", True),
        # "trust everybody", for the container
        ("VpcCidr", "0.0.0.0/0", False),
        ("VpcCidr", "10.0.0.0/8", False),
        ("TableName", "", True),
        ("TableName", "flask-crud-app-prod-Table-1A2B3C", True),
        # every table of the account, for the task's role
        ("TableName", "*", False),
        ("TableName", "table/index", False),
        ("UserPoolId", "", True),
        ("UserPoolId", "eu-west-1_Ab1Cd2Ef3", True),
        ("UserPoolId", "eu-west-1", False),
    ],
)
def test_parameters_that_decide_on_rights_are_checked(
    service: Stack, parameter: str, value: str, allowed: bool
) -> None:
    assert bool(re.fullmatch(service.template["Parameters"][parameter]["AllowedPattern"], value)) == allowed


def test_only_the_load_balancer_reaches_the_tasks(service: Stack) -> None:
    tasks = service.properties("TaskSecurityGroup")
    (ingress,) = tasks["SecurityGroupIngress"]
    assert ingress["SourceSecurityGroupId"] == "<LoadBalancerSecurityGroup.GroupId>"
    assert "CidrIp" not in ingress
    assert ways(tasks["SecurityGroupEgress"]) == [("tcp", 443, 443, "0.0.0.0/0")]
    # the load balancer itself talks to nobody else
    assert ways(service.properties("LoadBalancerSecurityGroup")["SecurityGroupEgress"]) == [
        ("icmp", -1, -1, "127.0.0.1/32")
    ]
    way = service.properties("LoadBalancerToTasks")
    assert way["DestinationSecurityGroupId"] == "<TaskSecurityGroup.GroupId>"
    assert way["GroupId"] == "<LoadBalancerSecurityGroup.GroupId>"
    assert service.properties("LoadBalancer")["SecurityGroups"] == ["<LoadBalancerSecurityGroup.GroupId>"]
    network = service.properties("Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["SecurityGroups"] == ["<TaskSecurityGroup.GroupId>"]


def test_without_a_certificate_it_speaks_http(service: Stack) -> None:
    (listener,) = service.of_type("AWS::ElasticLoadBalancingV2::Listener").values()
    assert (listener["Port"], listener["Protocol"]) == (80, "HTTP")
    assert listener["DefaultActions"] == [{"Type": "forward", "TargetGroupArn": "<TargetGroup>"}]
    ingress = service.properties("LoadBalancerSecurityGroup")["SecurityGroupIngress"]
    assert ways(ingress) == [("tcp", 80, 80, "0.0.0.0/0")]


def test_with_a_certificate_it_speaks_https_and_redirects_http(https_service: Stack) -> None:
    (redirect,) = https_service.properties("HttpListener")["DefaultActions"]
    assert redirect["Type"] == "redirect"
    assert redirect["RedirectConfig"] == {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    listener = https_service.properties("HttpsListener")
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert listener["Certificates"] == [{"CertificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/1"}]
    assert "TLS13" in listener["SslPolicy"]
    assert listener["DefaultActions"] == [{"Type": "forward", "TargetGroupArn": "<TargetGroup>"}]
    ingress = https_service.properties("LoadBalancerSecurityGroup")["SecurityGroupIngress"]
    assert ways(ingress) == [("tcp", port, port, "0.0.0.0/0") for port in (80, 443)]


def test_service_waits_for_the_listener_that_there_is(service: Stack, https_service: Stack) -> None:
    assert service.properties("Service")["Tags"] == [{"Key": "listener", "Value": "<HttpListener>"}]
    assert https_service.properties("Service")["Tags"] == [{"Key": "listener", "Value": "<HttpsListener>"}]


def test_load_balancer_tells_the_truth_about_clients(service: Stack) -> None:
    found = attributes(service.properties("LoadBalancer"), "LoadBalancerAttributes")
    assert found["routing.http.xff_header_processing.mode"] == "append"
    assert found["routing.http.xff_client_port.enabled"] == "false"
    assert found["routing.http.drop_invalid_header_fields.enabled"] == "true"


def test_load_balancer_asks_for_ping(service: Stack) -> None:
    group = service.properties("TargetGroup")
    assert (group["HealthCheckPath"], group["Matcher"]) == ("/ping", {"HttpCode": "200"})
    assert group["TargetType"] == "ip"


def test_table_is_what_the_application_uses_and_hard_to_lose(service: Stack) -> None:
    table = service.properties("Table")
    assert {key["AttributeName"]: key["KeyType"] for key in table["KeySchema"]} == {"userId": "HASH", "itemId": "RANGE"}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["DeletionProtectionEnabled"] is True
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    for name in ("Table", "UserPool"):
        assert service.resources[name]["DeletionPolicy"] == "Retain"
        assert service.resources[name]["UpdateReplacePolicy"] == "Retain"
    assert service.properties("UserPool")["DeletionProtection"] == "ACTIVE"


def test_application_may_do_what_it_does_with_its_table(service: Stack) -> None:
    (policy,) = service.properties("TaskRole")["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert service.properties("TaskDefinition")["TaskRoleArn"] == "<TaskRole.Arn>"
    code = "".join(path.read_text() for path in (ROOT / "app" / "stores").glob("*.py"))
    calls = set(re.findall(r'"((?:batch_|transact_)?(?:get|put|update|delete|write)_items?|query|scan)"', code))
    assert len(calls) >= 4
    actions = {"dynamodb:" + "".join(word.capitalize() for word in call.split("_")) for call in calls}
    assert set(statement["Action"]) == actions
    assert statement["Resource"] == "<Table.Arn>"


def test_a_task_can_be_started(service: Stack) -> None:
    """What ECS needs for an image of ECR and for awslogs, with the log group made here."""
    assert service.properties("TaskDefinition")["ExecutionRoleArn"] == "<ExecutionRole.Arn>"
    assert allowed(service, "ExecutionRole") == {
        "*": {"ecr:GetAuthorizationToken"},
        "arn:aws:ecr:eu-west-1:123456789012:repository/flask-crud-app": PULL,
        "<LogGroup.Arn>": LOG,
    }


def test_given_table_and_pool_are_used_and_none_are_made() -> None:
    given = Stack("service", TableName="restored", UserPoolId="eu-west-1_Ab1Cd2Ef3")
    assert not given.resources.keys() & {"Table", "UserPool"}
    told = environment(given)
    assert (told["TABLE_NAME"], told["COGNITO_USER_POOL_ID"]) == ("restored", "eu-west-1_Ab1Cd2Ef3")
    assert told["COGNITO_CLIENT_ID"] == "<UserPoolClient>"
    assert given.properties("UserPoolClient")["UserPoolId"] == "eu-west-1_Ab1Cd2Ef3"
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/restored"
    (policy,) = given.properties("TaskRole")["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == arn
    for metric in given.properties("ThrottleAlarm")["Metrics"][1:]:
        assert metric["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "TableName", "Value": "restored"}]
    outputs = {name: given.value(output["Value"]) for name, output in given.template["Outputs"].items()}
    assert (outputs["TableName"], outputs["UserPoolId"]) == ("restored", "eu-west-1_Ab1Cd2Ef3")


def test_tasks_keep_their_table_until_those_with_another_have_taken_over(service: Stack) -> None:
    """CloudFormation changes roles and endpoints before the service deploys; a role is left alone if another is made."""
    tables = [service, *(Stack("service", TableName=name) for name in ("restored", "restored-again"))]
    replaced_by = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, "AWS::IAM::Role").schema["createOnlyProperties"]
    assert "/properties/Path" in replaced_by
    assert len({stack.properties("TaskRole")["Path"] for stack in tables}) == len(tables)
    first, *others = (stack.properties("DynamoDbEndpoint") for stack in tables)
    assert all(endpoint == first for endpoint in others)
    (statement,) = first["PolicyDocument"]["Statement"]
    assert statement["Resource"] == "arn:aws:dynamodb:eu-west-1:123456789012:table/*"


def test_tokens_are_short_lived_and_revocable(service: Stack) -> None:
    client = service.properties("UserPoolClient")
    assert client["GenerateSecret"] is False
    assert (client["AccessTokenValidity"], client["TokenValidityUnits"]["AccessToken"]) == (1, "hours")
    assert client["EnableTokenRevocation"] is True
    # the password in plain text is for operators with AWS credentials only
    flows = {"ALLOW_USER_SRP_AUTH", "ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}
    assert set(client["ExplicitAuthFlows"]) == flows
    assert client["PreventUserExistenceErrors"] == "ENABLED"


def test_administrators_make_users_who_sign_in_by_mail(service: Stack) -> None:
    pool = service.properties("UserPool")
    assert pool["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}
    # cannot be changed later
    assert (pool["UsernameAttributes"], pool["UsernameConfiguration"]) == (["email"], {"CaseSensitive": False})
    assert pool["Policies"]["PasswordPolicy"] == {"MinimumLength": 12, "TemporaryPasswordValidityDays": 1}


@pytest.mark.parametrize(
    ("application", "balancer", "requests", "rate"),
    [
        (0, 0, 1000, 0),
        (40, 0, 1000, 4),
        (60, 0, 1000, 6),
        # too few to say
        (19, 0, 19, 0),
        # no task: the load balancer refuses all, and counts none of them as a request
        (0, 1000, 0, 100),
        # tasks that break connections off: 502, which are requests as well
        (0, 1000, 1000, 50),
    ],
)
def test_error_alarm_sees_what_clients_see(
    service: Stack, application: int, balancer: int, requests: int, rate: float
) -> None:
    metrics = {metric["Id"]: metric.get("Expression") for metric in service.properties("ErrorAlarm")["Metrics"]}
    functions = {"IF": lambda condition, yes, no: yes if condition else no, "FILL": lambda value, _: value}
    known: dict[str, Any] = {"application": application, "balancer": balancer, "requests": requests} | functions
    known["total"] = eval(metrics["total"], known)
    # IF has both of its values worked out, also where it divides by nothing
    assert eval(metrics["rate"].replace("/ total", "/ max(total, 1)"), known) == rate
    assert service.properties("ErrorAlarm")["Threshold"] == 5


BALANCER = {"LoadBalancer": "<LoadBalancer.LoadBalancerFullName>"}
TARGETS = BALANCER | {"TargetGroup": "<TargetGroup.TargetGroupFullName>"}
TASKS = {"ClusterName": "<Cluster>", "ServiceName": "<Service.Name>"}
MEASURED = {
    "Error": {
        "AWS/ApplicationELB RequestCount": BALANCER,
        "AWS/ApplicationELB HTTPCode_Target_5XX_Count": BALANCER,
        "AWS/ApplicationELB HTTPCode_ELB_5XX_Count": BALANCER,
    },
    "Latency": {"AWS/ApplicationELB TargetResponseTime": BALANCER},
    "Unhealthy": {"AWS/ApplicationELB UnHealthyHostCount": TARGETS},
    "Outage": {"AWS/ApplicationELB HealthyHostCount": TARGETS},
    "Capacity": {"AWS/ECS CPUUtilization": TASKS},
    "Throttle": {f"AWS/DynamoDB {kind}ThrottleEvents": {"TableName": "<Table>"} for kind in ("Read", "Write")},
}


@pytest.mark.parametrize("name", MEASURED)
def test_alarms_look_at_metrics_that_there_are(service: Stack, name: str) -> None:
    """Of one whose name or dimensions are wrong there is never a value, and no error."""
    alarm = service.properties(f"{name}Alarm")
    metrics = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each] or [alarm]
    assert MEASURED[name] == {
        f"{metric['Namespace']} {metric['MetricName']}": {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        for metric in metrics
    }


@pytest.mark.parametrize(
    ("name", "statistic", "quiet", "rings", "minutes"),
    [
        ("Error", "Sum", 5, 5.1, 3),
        ("Latency", "p99", 1, 1.1, 5),
        ("Unhealthy", "Maximum", 0, 1, 5),
        # one task is enough
        ("Outage", "Maximum", 1, 0, 3),
        # more than the autoscaling aims at, for longer than a task takes to come
        ("Capacity", "Average", 85, 86, 10),
        ("Throttle", "Sum", 0, 1, 3),
    ],
)
def test_alarm_rings(service: Stack, name: str, statistic: str, quiet: float, rings: float, minutes: int) -> None:
    alarm = service.properties(f"{name}Alarm")
    statistics = [each["MetricStat"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    for each in statistics or [alarm]:
        assert (each.get("Stat") or each.get("Statistic") or each["ExtendedStatistic"], each["Period"]) == (
            statistic,
            60,
        )
    # of several figures one is the alarm's
    assert [each.get("ReturnData", True) for each in alarm.get("Metrics", [{}])].count(True) == 1
    compare = {"GreaterThanThreshold": operator.gt, "LessThanThreshold": operator.lt}[alarm["ComparisonOperator"]]
    assert (compare(quiet, alarm["Threshold"]), compare(rings, alarm["Threshold"])) == (False, True)
    assert alarm["EvaluationPeriods"] == minutes
    # one bad minute does not take a deployment back, and one good one does not hide two bad ones
    assert alarm.get("DatapointsToAlarm") == (2 if name == "Error" else None)


def test_alarms_tell_whoever_is_named(service: Stack, https_service: Stack) -> None:
    alarms = service.of_type("AWS::CloudWatch::Alarm")
    names = ("Error", "Latency", "Unhealthy", "Outage", "Capacity", "Throttle")
    assert alarms.keys() == {f"{name}Alarm" for name in names}
    assert all(alarm["AlarmActions"] == [] for alarm in alarms.values())
    assert not service.of_type("AWS::SNS::Topic")
    for name, alarm in https_service.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["<AlarmTopic>"]
        # where there is no task, nothing is measured
        assert alarm["TreatMissingData"] == ("breaching" if name == "OutageAlarm" else "notBreaching")
    (topic,) = https_service.of_type("AWS::SNS::Topic").values()
    assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": "ops@example.com"}]


def test_alarms_watch_as_many_metrics_as_the_documentation_says(service: Stack) -> None:
    """Each has a price. Of a policy that tracks a target, AWS makes two alarms, which have it as well."""
    alarms = service.of_type("AWS::CloudWatch::Alarm").values()
    metrics = sum("Expression" not in metric for alarm in alarms for metric in alarm.get("Metrics", [alarm]))
    policies = service.of_type("AWS::ApplicationAutoScaling::ScalingPolicy").values()
    tracked = 2 * sum(policy["PolicyType"] == "TargetTrackingScaling" for policy in policies)
    text = " ".join((ROOT / "docs" / "deploy.md").read_text().split())
    assert f"these watch {metrics} metrics, and those of the autoscaling {tracked}" in text
