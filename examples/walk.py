# %% [markdown]
# # A walk through the warehouse
#
# From what there is to a picture of it, on the demo's market (`make demo`). Each cell stands by
# itself: open this file as a notebook (in VS Code, in PyCharm, or with `jupytext`), or run it:
#
#     python examples/walk.py [WAREHOUSE]
#
# The pictures are written beside you, as `walk-*.png`.

# %%
import sys

import matplotlib as mpl
import pandas as pd

from warehouse import Warehouse

mpl.use("agg")
import matplotlib.pyplot as plt

wh = Warehouse(sys.argv[1] if sys.argv[1:] else "demo-warehouse")
NEW_YORK = "America/New_York"

# %% [markdown]
# ## What is there
# Sessions are New York's trading days. `coverage` says of each session and symbol that was asked
# for whether it is there, and if not, why.

# %%
symbols, sessions = wh.symbols(), wh.sessions("trades")
print(f"{len(symbols)} symbols, {len(sessions)} sessions: {sessions[0]} to {sessions[-1]}")
coverage = wh.coverage("trades", ["SPY", "F"], "2025-11-24", "2025-12-02")
print(coverage.groupby(["session", "state"], observed=True).size().to_string())

# %% [markdown]
# ## A day's tape
# A date is a session, taken whole; stamps come out in the zone that is asked for.

# %%
trades = wh.trades("SPY", "2025-12-01", "2025-12-01", tz=NEW_YORK)
bars = wh.aggs("SPY", "2025-12-01", "2025-12-01", tz=NEW_YORK)
print(trades[["timestamp", "price", "size", "conditions"]].head(3).to_string())

figure, (upper, lower) = plt.subplots(
    2, 1, sharex=True, figsize=(9, 5), height_ratios=(3, 1), layout="constrained"
)
upper.scatter(trades["timestamp"], trades["price"], s=2, color="0.6", label="trades")
upper.plot(bars["timestamp"], bars["close"], color="tab:blue", linewidth=1, label="minute closes")
upper.set(title="SPY, 2025-12-01 (synthetic)", ylabel="dollars")
upper.legend(loc="upper left")
lower.bar(bars["timestamp"], bars["volume"], width=pd.Timedelta(minutes=1), color="tab:blue")
lower.set(ylabel="shares", xlabel="New York time")
lower.xaxis.set_major_formatter(mpl.dates.DateFormatter("%H:%M", tz=NEW_YORK))
figure.savefig("walk-tape.png", dpi=110)
plt.close(figure)

# %% [markdown]
# ## Features
# Each is a file of `sql/features`, and looks at nothing later than its row.

# %%
spread = wh.features("spread", "SPY", "2025-12-01 09:30", "2025-12-01 16:00", tz=NEW_YORK)
effective = wh.features("effective_spread", "SPY", "2025-12-01 09:30", "2025-12-01 16:00")
print(f"quoted spread, median: {spread['spread'].median():.4f} dollars")
print(f"effective spread, median: {effective['effective_spread'].median():.4f} dollars")

by_minute = spread.set_index("timestamp")["spread_pct"].resample("5min").median() * 1e4
figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
axes.step(by_minute.index, by_minute, where="post", color="tab:blue")
axes.set(title="SPY, quoted spread, median of five minutes", ylabel="basis points",
         xlabel="New York time")  # fmt: skip
axes.xaxis.set_major_formatter(mpl.dates.DateFormatter("%H:%M", tz=NEW_YORK))
figure.savefig("walk-spread.png", dpi=110)
plt.close(figure)

# %% [markdown]
# ## Any question, in SQL
# Values are parameters.

# %%
busiest = wh.query(
    """
    select symbol, count(*) as trades, sum(price * size) as dollars
    from trades
    where session = $day
    group by symbol
    order by dollars desc
    limit 5
    """,
    day="2025-12-01",
)
print(busiest.to_string(index=False, float_format="{:,.0f}".format))

# %% [markdown]
# ## The tape in order
# Trades and quotes of many symbols, merged by time; the range may be larger than the memory.

# %%
rows = 0
for batch in wh.stream(
    ["SPY", "AAPL", "F"], "2025-12-01", "2025-12-02", types=("trades", "quotes")
):
    rows += batch.num_rows
print(f"{rows:,} rows streamed")

# %% [markdown]
# ## The same again
# Answers are kept in memory; a question within one that is held does not touch the disk. The
# fingerprint names everything that stands behind a frame: equal ids, equal frames.

# %%
again = wh.trades("SPY", "2025-12-01 10:00", "2025-12-01 11:00", tz=NEW_YORK)
print(f"{wh.cache.stats.hits} answers from memory, {wh.cache.stats.bytes / 1e6:.1f} MB held")
print("fingerprint", again.attrs["fingerprint"])
wh.close()
