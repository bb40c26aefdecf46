-- catalog/reference: the reference tables, from the .csv files in config/.
create or replace table trade_conditions as
select *
from
    read_csv(
        'config/trade_conditions.csv',
        header = true,
        auto_detect = false,
        hive_partitioning = false,
        columns = {
            'id': 'SMALLINT',
            'name': 'VARCHAR',
            'updates_high_low': 'BOOLEAN',
            'updates_open_close': 'BOOLEAN',
            'updates_volume': 'BOOLEAN',
            'valid_from': 'DATE',
            'valid_to': 'DATE'
        },
        -- A table of an earlier version has no dates: its rules are valid always.
        null_padding = true
    );
create or replace table quote_conditions as
select *
from
    read_csv(
        'config/quote_conditions.csv',
        header = true,
        auto_detect = false,
        hive_partitioning = false,
        columns = {'id': 'SMALLINT', 'type': 'VARCHAR', 'name': 'VARCHAR'}
    );
create or replace table exchanges as
select *
from
    read_csv(
        'config/exchanges.csv',
        header = true,
        auto_detect = false,
        hive_partitioning = false,
        columns = {
            'id': 'SMALLINT',
            'mic': 'VARCHAR',
            'participant_id': 'VARCHAR',
            'type': 'VARCHAR',
            'name': 'VARCHAR'
        }
    );
