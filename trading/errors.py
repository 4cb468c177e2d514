"""Why an order is refused."""

from config.core.errors import Conflict, Forbidden, Invalid, Missing, Refused


class CustomerRestricted(Forbidden):
    code = "customer_restricted"
    title = "Trading is not open to you"


class JurisdictionRefused(Forbidden):
    code = "jurisdiction_refused"
    title = "Trading is not offered in your country"


class NoSuchAccount(Missing):
    code = "account_missing"
    title = "There is no such account of yours"


class NoSuchOrder(Missing):
    code = "order_missing"
    title = "There is no such order of yours"


class InstrumentNotInBook(Refused):
    code = "instrument_not_in_book"
    title = "This account does not trade this instrument"


class BookClosed(Refused):
    code = "book_closed"
    title = "This account does not trade now"


class InstrumentSuspended(Refused):
    code = "instrument_suspended"
    title = "Trading in this instrument is suspended"


class TradingStopped(Refused):
    code = "trading_stopped"
    title = "New orders are stopped"


class ContractNotOffered(Refused):
    code = "contract_not_offered"
    title = "This contract is not offered on this instrument"


class MarketClosed(Refused):
    code = "market_closed"
    title = "The market is closed"


class ExpiryCutoff(Refused):
    code = "expiry_cutoff"
    title = "It is too late for this expiry"


class DurationOutOfRange(Refused):
    code = "duration_out_of_range"
    title = "The duration is out of range"


class StakeOutOfRange(Refused):
    code = "stake_out_of_range"
    title = "The stake is out of range"


class PriceStale(Refused):
    code = "price_stale"
    title = "There is no fresh price"


class PriceMoved(Refused):
    code = "price_moved"
    title = "The price has moved"


class PayoutChanged(Refused):
    code = "payout_changed"
    title = "The payout has changed"


class PayoutUnavailable(Refused):
    code = "payout_unavailable"
    title = "There is no payout for this right now"


class BarrierOutOfRange(Refused):
    code = "barrier_out_of_range"
    title = "Too certain or too unlikely to be offered"


class TooManyOpenOrders(Refused):
    code = "too_many_open_orders"
    title = "Too many orders are open"


class OpenPayoutLimit(Refused):
    code = "open_payout_limit"
    title = "Your open orders could pay out too much together"


class OrderClosed(Refused):
    code = "order_closed"
    title = "The order is closed already"


class ReceiptNotReady(Refused):
    code = "receipt_not_ready"
    title = "There is no receipt of this order yet"


class SaleNotOffered(Refused):
    code = "sale_not_offered"
    title = "This order cannot be sold now"


class SalePriceChanged(Refused):
    code = "sale_price_changed"
    title = "The price of the order has changed"


class OwnLimitReached(Refused):
    code = "own_limit_reached"
    title = "Your own limit is reached"


class ExposureLimit(Refused):
    code = "exposure_limit"
    title = "So much cannot be taken on this side now"


class IdempotencyMismatch(Refused):
    code = "idempotency_mismatch"
    title = "This client_id was used for another order"


class RateOutOfBounds(Invalid):
    code = "rate_out_of_bounds"
    title = "The payout rate is outside the bounds of the terms"


class OrderBusy(Conflict):
    code = "order_busy"
    title = "Another order of this account is being placed"
