from django.db import migrations

# Each item is updated four times in its life, and PostgreSQL keeps the older versions until a vacuum. By its
# own measure, a fifth of the table, it would come to a ledger of a million rows too seldom: claims were
# seen to slow down a hundredfold. An item's hot columns are in partial indexes, so room is left beside it.
SETTINGS = {
    "proxies_batchitem": "fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, "
    "autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1",
    "proxies_proxylease": "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500",
    "proxies_lane": "fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200",
    "proxies_batch": "fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200",
    "django_q_ormq": "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500",
}


def set_storage(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table, settings in SETTINGS.items():
            schema_editor.execute(f"ALTER TABLE {table} SET ({settings})")


class Migration(migrations.Migration):
    dependencies = [
        ("proxies", "0001_initial"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
    ]
    operations = [migrations.RunPython(set_storage, migrations.RunPython.noop)]
