package runner.tests.node;

import java.util.List;
import org.elasticsearch.common.settings.MockSecureSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.xpack.core.XPackPlugin;
import org.elasticsearch.xpack.security.SecurityWithoutSaml;

/** What `--security` adds: x-pack core with its licence service, and security. */
final class SecurityPlugins {
    private SecurityPlugins() {}

    static List<Class<? extends Plugin>> all() {
        return List.of(XPackPlugin.class, SecurityWithoutSaml.class, AnalysisPieces.class);
    }

    /** Security without TLS; the user `elastic` has the given password. */
    static void configure(Settings.Builder settings, String password) {
        MockSecureSettings secure = new MockSecureSettings();
        secure.setString("bootstrap.password", password);
        settings.setSecureSettings(secure)
            .put("xpack.security.enabled", true)
            .put("xpack.security.transport.ssl.enabled", false)
            .put("xpack.security.http.ssl.enabled", false)
            .put("xpack.security.enrollment.enabled", false)
            .put("xpack.security.autoconfiguration.enabled", false)
            .put("xpack.license.self_generated.type", "basic");
    }
}
