"""Every write about people, one function per use case."""

from kyc.services.groups import set_customer_group
from kyc.services.operators import (
    accept_invitation,
    change_jurisdiction,
    invite_operator,
    invited,
    invited_app,
)
from kyc.services.otp import confirm_otp, disable_otp, enrol_otp, verify_otp
from kyc.services.people import change_profile, register_customer, reset_password
from kyc.services.restrictions import lift_restriction, restrict
from kyc.services.sessions import (
    TokenPair,
    end_page_session,
    issue_tokens,
    refresh_tokens,
    revoke_family,
    sign_out,
    sign_out_everywhere,
    trim_refresh_tokens,
    trim_sessions,
)
from kyc.services.switches import turn_switch

__all__ = [
    "TokenPair",
    "accept_invitation",
    "change_jurisdiction",
    "change_profile",
    "confirm_otp",
    "disable_otp",
    "end_page_session",
    "enrol_otp",
    "invite_operator",
    "invited",
    "invited_app",
    "issue_tokens",
    "lift_restriction",
    "refresh_tokens",
    "register_customer",
    "reset_password",
    "restrict",
    "revoke_family",
    "set_customer_group",
    "sign_out",
    "sign_out_everywhere",
    "trim_refresh_tokens",
    "trim_sessions",
    "turn_switch",
    "verify_otp",
]
