"""The fields of an event that say something, by topic, in the names of ECS and of sources that keep their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of events: a title, and its fields in the order in which they are shown."""

    title: str
    fields: tuple[str, ...]
    needs: frozenset[str] = frozenset()
    """Values of `event.category` of which the event has one; none: an event of any category."""
    only_with: tuple[str, ...] = ()
    """Fields, or objects around them, of which the event has one; none: any event."""
    only_without: str = ""
    """A field that the event has not."""


def _fields(text: str, prefix: str = "") -> tuple[str, ...]:
    return tuple(prefix + name for name in text.split())


_DATA: Final = "winlog.event_data."

PROCESS: Final = Topic(
    "Process",
    _fields(
        """process.command_line process.args process.executable process.pe.original_file_name process.io.text
        process.exit_code process.Ext.token.integrity_level_name process.Ext.token.elevation_type
        process.Ext.token.elevation process.env_vars process.interactive process.entry_leader.entry_meta.type
        process.entry_leader.entry_meta.source.ip process.Ext.effective_parent.executable
        process.Ext.effective_parent.name process.Ext.effective_parent.pid process.parent.Ext.real.pid
        process.real_user.name process.thread.capabilities.effective process.Ext.session process.Ext.created_suspended
        container.name container.id container.image.name orchestrator.resource.name orchestrator.namespace
        orchestrator.cluster.name"""
    )
    + _fields("IntegrityLevel MandatoryLabel TokenElevationType", _DATA),
)
LOGON: Final = Topic(
    "Logon",
    _fields(
        """event.outcome event.code event.reason winlog.logon.type winlog.event_data.LogonType source.ip source.port
        source.domain source.address client.ip client.address winlog.event_data.WorkstationName
        winlog.event_data.Workstation winlog.event_data.IpAddress winlog.event_data.IpPort user.target.name
        user.target.domain user.target.id winlog.event_data.TargetUserName winlog.event_data.TargetDomainName
        winlog.event_data.TargetServerName winlog.event_data.TargetOutboundUserName
        winlog.event_data.TargetOutboundDomainName winlog.event_data.SubjectUserName
        winlog.event_data.SubjectDomainName winlog.event_data.AuthenticationPackageName
        winlog.event_data.LmPackageName winlog.event_data.LogonProcessName winlog.event_data.ElevatedToken
        winlog.event_data.ImpersonationLevel winlog.event_data.RestrictedAdminMode winlog.logon.failure.reason
        winlog.logon.failure.status winlog.logon.failure.sub_status winlog.event_data.FailureReason
        winlog.event_data.Status winlog.event_data.SubStatus winlog.event_data.FailureCode
        winlog.event_data.TicketEncryptionType winlog.event_data.TicketOptions winlog.event_data.PreAuthType
        winlog.event_data.ServiceName winlog.event_data.PrivilegeList winlog.logon.id
        winlog.event_data.TargetLogonId winlog.event_data.SubjectLogonId winlog.event_data.MemberName
        winlog.event_data.MemberSid system.auth.ssh.event system.auth.ssh.method system.auth.ssh.signature
        system.auth.sudo.command system.auth.sudo.user system.auth.sudo.error user.effective.name user.effective.id
        user.changes.name group.name group.id group.domain user_agent.original"""
    ),
    frozenset({"authentication", "session", "iam"}),
)
REGISTRY: Final = Topic(
    "Registry",
    _fields(
        """registry.path registry.value registry.data.type registry.data.strings registry.data.bytes
        registry.Ext.previous.data.strings winlog.event_data.EventType winlog.event_data.TargetObject
        winlog.event_data.Details winlog.event_data.NewName winlog.event_data.OperationType
        winlog.event_data.ObjectName winlog.event_data.ObjectValueName winlog.event_data.OldValueType
        winlog.event_data.OldValue winlog.event_data.NewValueType winlog.event_data.NewValue"""
    ),
    only_with=("registry.path", "registry.value", "winlog.event_data.TargetObject", "winlog.event_data.OldValueType"),
)
FILE: Final = Topic(
    "File",
    _fields(
        """file.path file.name file.Ext.original.path file.target_path file.size file.type file.extension file.owner
        file.group file.mode file.pe.original_file_name file.Ext.entropy file.Ext.header_bytes file.origin_url
        file.origin_referrer_url file.Ext.windows.zone_identifier file.created file.mtime file.fork_name
        file.Ext.device.product_id file.Ext.device.bus_type file.Ext.monotonic_id winlog.event_data.TargetFilename
        winlog.event_data.Contents winlog.event_data.CreationUtcTime winlog.event_data.PreviousCreationUtcTime
        winlog.event_data.ShareName winlog.event_data.ShareLocalPath winlog.event_data.RelativeTargetName
        volume.mount_name volume.device_name volume.file_system_type volume.bus_type device.product.name
        device.serial_number"""
    ),
)
DNS: Final = Topic(
    "DNS",
    _fields(
        """dns.question.name dns.question.type dns.response_code dns.resolved_ip dns.answers.name dns.answers.type
        dns.answers.data winlog.event_data.QueryName winlog.event_data.QueryStatus winlog.event_data.QueryResults"""
    ),
)
MODULE: Final = Topic(
    "Module",
    _fields(
        """dll.path dll.name dll.pe.original_file_name dll.pe.imphash dll.Ext.load_index
        dll.Ext.relative_file_creation_time dll.Ext.defense_evasions library.path library.name driver.path
        winlog.event_data.ImageLoaded winlog.event_data.Signed winlog.event_data.Signature
        winlog.event_data.SignatureStatus"""
    ),
)
ACCESS: Final = Topic(
    "Access to processes and memory",
    _fields(
        """Target.process.executable Target.process.name Target.process.pid Target.process.entity_id
        winlog.event_data.TargetImage winlog.event_data.TargetProcessId winlog.event_data.TargetUser
        winlog.event_data.GrantedAccess winlog.event_data.CallTrace winlog.event_data.StartAddress
        winlog.event_data.StartModule winlog.event_data.StartFunction process.Ext.api.name process.Ext.api.summary
        process.Ext.api.behaviors process.Ext.api.parameters.desired_access
        process.Ext.api.parameters.desired_access_numeric process.Ext.api.parameters.protection
        process.Ext.api.parameters.allocation_type process.Ext.api.parameters.size process.Ext.api.parameters.address
        process.Ext.api.metadata.target_address_name process.Ext.memory_region.region_protection
        process.Ext.memory_region.mapped_path process.Ext.memory_region.strings
        process.thread.Ext.start_address_module process.thread.Ext.call_stack_summary
        process.thread.Ext.call_stack_final_user_module.name process.thread.Ext.call_stack_final_user_module.path
        winlog.event_data.ObjectType winlog.event_data.ObjectName winlog.event_data.ObjectServer
        winlog.event_data.AccessMask winlog.event_data.AccessList winlog.event_data.Properties"""
    ),
)
TASK: Final = Topic(
    "Tasks and services",
    _fields(
        """service.name service.type service.state winlog.event_data.ServiceName winlog.event_data.ServiceFileName
        winlog.event_data.ImagePath winlog.event_data.ServiceType winlog.event_data.ServiceStartType
        winlog.event_data.StartType winlog.event_data.ServiceAccount winlog.event_data.AccountName
        winlog.event_data.TaskName winlog.event_data.TaskContent winlog.event_data.TaskContentNew
        winlog.event_data.ActionName Persistence.type Persistence.name Persistence.path Persistence.args
        Persistence.executable Persistence.runatload Persistence.keepalive"""
    ),
)
SCRIPT: Final = Topic(
    "Script",
    _fields(
        """powershell.file.script_block_text winlog.event_data.ScriptBlockText powershell.file.script_block_id
        powershell.sequence powershell.total winlog.event_data.Path powershell.command.value
        powershell.command.invocation_details.value powershell.engine.version powershell.process.executable_version
        winlog.event_data.ContextInfo winlog.event_data.Payload process.Ext.api.parameters.buffer
        Amsi.content"""
    ),
)
PIPE: Final = Topic("Named pipe", _fields("winlog.event_data.PipeName winlog.event_data.PipeType"))
WMI: Final = Topic(
    "WMI",
    _fields(
        """Operation EventNamespace Namespace NamespaceName Name Query Type Destination Consumer Filter PossibleCause
        EventType ESS CONSUMER""",
        _DATA,
    ),
    frozenset({"configuration", "wmi"}),
    (
        "winlog.event_data.EventNamespace",
        "winlog.event_data.Destination",
        "winlog.event_data.Consumer",
        "winlog.event_data.Query",
    ),
)
DIRECTORY: Final = Topic(
    "Directory",
    _fields(
        """ObjectDN ObjectClass ObjectGUID AttributeLDAPDisplayName AttributeValue DSName OpCorrelationID
        AdditionalInfo""",
        _DATA,
    ),
)
AUDIT: Final = Topic(
    "Audit",
    _fields(
        """auditd.data.syscall auditd.result auditd.data.exit auditd.summary.actor.primary
        auditd.summary.actor.secondary auditd.summary.object.type auditd.summary.object.primary auditd.summary.how
        auditd.data.tty auditd.data.cwd auditd.data.key auditd.log.record_type auditd.log.syscall auditd.log.key
        auditd.log.op auditd.log.terminal auditd.log.acct auditd.log.auid auditd.log.ses"""
    ),
)
NETWORK: Final = Topic(
    "Network",
    _fields(
        """network.protocol network.application network.direction network.community_id destination.domain
        source.bytes destination.bytes network.bytes event.duration url.full url.original http.request.method
        http.response.status_code http.request.referrer http.request.body.content user_agent.original
        tls.client.server_name tls.client.ja3 tls.server.ja3s tls.server.issuer tls.server.subject tls.version
        x509.subject.common_name source.geo.country_name source.geo.city_name source.as.organization.name
        source.as.number source.nat.ip destination.geo.country_name destination.geo.city_name
        destination.as.organization.name destination.as.number rule.name rule.category rule.id observer.product
        observer.name"""
    ),
)
CLOUD: Final = Topic(
    "Cloud",
    _fields(
        """event.outcome aws.cloudtrail.error_code aws.cloudtrail.error_message cloud.provider cloud.account.id
        cloud.account.name cloud.project.id cloud.project.name cloud.region cloud.service.name cloud.instance.id
        aws.cloudtrail.user_identity.type aws.cloudtrail.user_identity.arn
        aws.cloudtrail.user_identity.access_key_id
        aws.cloudtrail.resources.arn aws.cloudtrail.request_parameters aws.cloudtrail.response_elements
        gcp.audit.resource_name gcp.audit.method_name gcp.audit.authentication_info.principal_email
        azure.auditlogs.operation_name azure.activitylogs.operation_name azure.signinlogs.properties.app_display_name
        azure.resource.id azure.resource.name o365.audit.Operation o365.audit.ObjectId o365.audit.Workload
        okta.actor.display_name okta.actor.alternate_id okta.target.display_name okta.target.alternate_id
        okta.outcome.reason okta.debug_context.debug_data.flattened okta.client.zone
        kubernetes.audit.verb kubernetes.audit.requestURI kubernetes.audit.objectRef.resource
        kubernetes.audit.objectRef.namespace kubernetes.audit.objectRef.name kubernetes.audit.user.username
        kubernetes.audit.user.groups kubernetes.audit.sourceIPs kubernetes.audit.userAgent
        github.org github.repo github.actor_location.country_code"""
    ),
    only_with=(
        *("aws", "azure", "cloud", "gcp", "github", "google_workspace", "kubernetes", "o365", "okta"),
        *("auth0", "gitlab", "snowflake", "slack"),
    ),
)
ORIGIN: Final = Topic(
    "Origin",
    _fields(
        """user.email source.user.name source.user.email client.user.name client.user.email client.user.id source.ip
        source.port source.domain client.ip client.domain source.geo.country_name source.geo.region_name
        source.geo.city_name source.as.organization.name source.as.number client.geo.country_name
        client.as.organization.name user_agent.original"""
    ),
    only_without="destination.ip",
)
PROTECTION: Final = Topic(
    "Endpoint protection",
    _fields(
        """rule.name rule.id rule.description message Memory_protection.feature Memory_protection.self_injection
        Memory_protection.cross_session Memory_protection.thread_count Ransomware.feature Ransomware.score
        Ransomware.files.path process.Ext.malware_classification.score file.Ext.malware_classification.score
        file.Ext.malware_classification.threshold file.Ext.malware_signature.primary.signature.name
        dll.Ext.malware_classification.score process.Ext.memory_region.malware_signature.primary.signature.name
        Target.process.thread.Ext.start_address_module Target.process.thread.Ext.start_address_bytes
        Responses.action.action Responses.message Responses.result file.Ext.quarantine_result
        file.Ext.quarantine_path event.risk_score"""
    ),
    only_with=("Memory_protection", "Ransomware", "Responses", "file.Ext.malware_classification", "Endpoint.policy"),
)
EMAIL: Final = Topic(
    "Email",
    _fields(
        """email.from.address email.sender.address email.to.address email.cc.address email.reply_to.address
        email.subject email.direction email.delivery_timestamp email.message_id email.attachments.file.name
        email.attachments.file.hash.sha256"""
    ),
)
EVENT: Final = Topic(
    "Event",
    _fields("event.outcome event.reason event.code event.provider winlog.channel winlog.task error.code error.message"),
)

TOPICS: Final = (
    LOGON, PROTECTION, REGISTRY, ACCESS, SCRIPT, FILE, MODULE, DNS, TASK, PIPE, WMI, DIRECTORY, EMAIL, CLOUD, ORIGIN,
    PROCESS, NETWORK, AUDIT, EVENT,
)  # fmt: skip
"""A field is shown with the first of them that has it."""
