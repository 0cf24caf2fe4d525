from django.db import migrations

# Django's SearchVector writes this expression; an index serves only the very same one.
WORDS = "CREATE INDEX analysis_words ON analysis_analysis USING gin (to_tsvector('simple'::regconfig, COALESCE(search_text, '')))"

# Rows that are written once a call: without these their older versions pile up faster than they are cleared.
SETTINGS = {
    "analysis_callrate": "fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200",
    "analysis_spending": "fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200",
}


def on_postgresql(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    schema_editor.execute(WORDS)
    for table, settings in SETTINGS.items():
        schema_editor.execute(f"ALTER TABLE {table} SET ({settings})")


def back(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX analysis_words")


class Migration(migrations.Migration):
    dependencies = [("analysis", "0001_initial")]
    operations = [migrations.RunPython(on_postgresql, back)]
