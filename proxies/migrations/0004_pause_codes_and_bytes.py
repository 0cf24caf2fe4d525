from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("media_files", "0001_initial"), ("proxies", "0003_remember_failures")]
    operations = [
        migrations.AddField(
            model_name="batch",
            name="paused_code",
            field=models.CharField(blank=True, editable=False, max_length=32),
        ),
        migrations.AlterField(
            model_name="batch", name="paused_reason", field=models.CharField(blank=True, max_length=1000)
        ),
        migrations.AddIndex(
            model_name="proxy", index=models.Index(fields=["sha256"], name="proxy_sha256")
        ),
    ]
