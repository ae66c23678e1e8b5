"""What coded values of Windows and of ECS stand for."""

from __future__ import annotations

import re
from typing import Final

_LOGON_TYPES: Final = {
    "0": "System", "2": "Interactive", "3": "Network", "4": "Batch", "5": "Service", "7": "Unlock",
    "8": "NetworkCleartext", "9": "NewCredentials", "10": "RemoteInteractive", "11": "CachedInteractive",
    "12": "CachedRemoteInteractive", "13": "CachedUnlock",
}  # fmt: skip
_MESSAGES: Final = {
    "%%1832": "Identification", "%%1833": "Impersonation", "%%1840": "Delegation", "%%1842": "Yes", "%%1843": "No",
    "%%1936": "Full token, no UAC split", "%%1937": "Elevated token", "%%1938": "Limited token", "%%2304": "Unknown",
    "%%2305": "The user does not exist", "%%2307": "The account is locked out",
    "%%2309": "The password has expired", "%%2310": "The account is disabled",
    "%%2313": "Unknown user name or bad password", "%%14674": "Value added", "%%14675": "Value deleted",
    "%%1904": "New registry value created", "%%1905": "Existing registry value modified",
    "%%1906": "Registry value deleted", "%%1872": "REG_NONE", "%%1873": "REG_SZ", "%%1874": "REG_EXPAND_SZ",
    "%%1875": "REG_BINARY", "%%1876": "REG_DWORD", "%%1879": "REG_MULTI_SZ", "%%1883": "REG_QWORD",
}  # fmt: skip
"""Texts of the Security log that stand as numbers in it."""
_STATUS: Final = {
    0xC000005E: "no logon servers available", 0xC0000064: "the user does not exist", 0xC000006A: "wrong password",
    0xC000006D: "bad user name or password", 0xC000006E: "account restriction", 0xC000006F: "outside allowed hours",
    0xC0000070: "from a workstation that is not allowed", 0xC0000071: "the password has expired",
    0xC0000072: "the account is disabled", 0xC00000DC: "the SAM server is in the wrong state",
    0xC0000133: "clocks out of sync", 0xC000015B: "logon type not granted", 0xC000018C: "trust relationship failed",
    0xC0000192: "the NetLogon service is not started", 0xC0000193: "the account has expired",
    0xC0000224: "the password must be changed", 0xC0000234: "the account is locked out",
    0xC0000413: "protected by an authentication firewall",
}  # fmt: skip
_KERBEROS: Final = {
    0x0: "no error", 0x6: "the client is unknown", 0x7: "the server is unknown", 0xC: "policy forbids it",
    0x12: "the account is disabled, expired or locked out", 0x17: "the password has expired",
    0x18: "pre-authentication failed: wrong password", 0x19: "pre-authentication required",
    0x1B: "must use user-to-user", 0x20: "the ticket has expired", 0x25: "clocks out of sync",
}  # fmt: skip
_ENCRYPTION: Final = {
    0x1: "DES-CBC-CRC", 0x3: "DES-CBC-MD5", 0x11: "AES128", 0x12: "AES256", 0x17: "RC4-HMAC", 0x18: "RC4-HMAC-EXP",
}  # fmt: skip
_PROCESS_RIGHTS: Final = {
    0x1: "TERMINATE", 0x2: "CREATE_THREAD", 0x8: "VM_OPERATION", 0x10: "VM_READ", 0x20: "VM_WRITE",
    0x40: "DUP_HANDLE", 0x80: "CREATE_PROCESS", 0x100: "SET_QUOTA", 0x200: "SET_INFORMATION",
    0x400: "QUERY_INFORMATION", 0x800: "SUSPEND_RESUME", 0x1000: "QUERY_LIMITED_INFORMATION", 0x10000: "DELETE",
    0x20000: "READ_CONTROL", 0x40000: "WRITE_DAC", 0x80000: "WRITE_OWNER", 0x100000: "SYNCHRONIZE",
}  # fmt: skip
_ALL_ACCESS: Final = (0x1FFFFF, 0x1F0FFF)
"""PROCESS_ALL_ACCESS since Windows Vista, and before."""
_LABELS: Final = {
    "S-1-16-0": "Untrusted", "S-1-16-4096": "Low", "S-1-16-8192": "Medium", "S-1-16-8448": "Medium plus",
    "S-1-16-12288": "High", "S-1-16-16384": "System", "S-1-16-20480": "Protected process",
}  # fmt: skip
_SIDS: Final = {
    "S-1-1-0": "Everyone", "S-1-5-7": "Anonymous", "S-1-5-11": "Authenticated Users", "S-1-5-18": "Local System",
    "S-1-5-19": "Local Service", "S-1-5-20": "Network Service", "S-1-5-32-544": "Administrators",
    "S-1-5-32-545": "Users", "S-1-5-32-546": "Guests", "S-1-5-32-551": "Backup Operators",
    "S-1-5-32-555": "Remote Desktop Users", "S-1-5-32-580": "Remote Management Users",
}  # fmt: skip
_RIDS: Final = {
    "500": "built-in Administrator", "501": "built-in Guest", "502": "krbtgt", "512": "Domain Admins",
    "513": "Domain Users", "515": "Domain Computers", "516": "Domain Controllers", "518": "Schema Admins",
    "519": "Enterprise Admins", "520": "Group Policy Creator Owners",
}  # fmt: skip
_ZONES: Final = {
    "0": "local machine", "1": "intranet", "2": "trusted sites", "3": "Internet", "4": "restricted sites"
}  # fmt: skip
_DNS_STATUS: Final = {"0": "success", "9003": "no such name", "9701": "no records", "1460": "timed out"}
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,10}")
_SID: Final = re.compile(r"S-1-[0-9]+(?:-[0-9]+)*")
_DOMAIN_SID: Final = re.compile(r"S-1-5-21-[0-9]+-[0-9]+-[0-9]+-(?P<rid>[0-9]+)")
_TABLES: Final = {
    "LogonType": _LOGON_TYPES, "MandatoryLabel": _LABELS, "QueryStatus": _DNS_STATUS, "zone_identifier": _ZONES
}  # fmt: skip
_NUMBERED: Final = {
    "Status": _STATUS | _KERBEROS, "SubStatus": _STATUS, "FailureCode": _KERBEROS,
    "TicketEncryptionType": _ENCRYPTION, "TicketEncryptionTypeDescription": _ENCRYPTION,
}  # fmt: skip


def meaning_of(field: str, value: str) -> str:
    """What the field's value stands for; "" where it says so itself or is not known.

    >>> meaning_of("winlog.event_data.LogonType", "3"), meaning_of("winlog.event_data.GrantedAccess", "0x1010")
    ('Network', 'VM_READ, QUERY_LIMITED_INFORMATION')
    >>> meaning_of("user.id", "S-1-5-18"), meaning_of("process.pid", "3")
    ('Local System', '')
    """
    name = field.rpartition(".")[2]
    if value.startswith("%%"):
        return _MESSAGES.get(value.strip(), "")
    if name in _TABLES and value in _TABLES[name]:
        return _TABLES[name][value]
    if field == "winlog.logon.type":
        return _LOGON_TYPES.get(value, "")
    if _NUMBER.fullmatch(value):
        if name == "GrantedAccess":
            return _rights(_number(value))
        return _NUMBERED.get(name, {}).get(_number(value), "")
    return sid_name(value)


def sid_name(text: str) -> str:
    """The well-known name of a security identifier; "" of any other text.

    >>> sid_name("S-1-5-21-1-2-3-500")
    'built-in Administrator'
    """
    if not _SID.fullmatch(text):
        return ""
    found = _DOMAIN_SID.fullmatch(text)
    return _RIDS.get(found["rid"], "") if found else _SIDS.get(text) or _LABELS.get(text, "")


def _rights(mask: int) -> str:
    """The rights to a process that an access mask grants; those without a name as a number."""
    if mask in _ALL_ACCESS:
        return "PROCESS_ALL_ACCESS"
    named = [name for bit, name in _PROCESS_RIGHTS.items() if mask & bit]
    rest = mask & ~sum(_PROCESS_RIGHTS)
    return ", ".join([*named, *([f"0x{rest:x}"] if rest else [])])


def _number(text: str) -> int:
    return int(text, 16) if text[:2].lower() == "0x" else int(text)
