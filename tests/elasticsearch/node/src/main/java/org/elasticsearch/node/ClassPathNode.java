package org.elasticsearch.node;

import java.util.Collection;
import java.util.Map;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.plugins.MockPluginsService;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.plugins.PluginsService;

/**
 * A node whose plugins come from the class path.
 *
 * <p>{@code MockNode} of the test framework does the same, but drags in that framework's bootstrap, which refuses to run as root
 * and expects JUnit. Lies in this package because the way in is open to the package only.
 */
public final class ClassPathNode extends Node {
    public ClassPathNode(Settings settings, Collection<Class<? extends Plugin>> plugins) {
        this(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "runner-tests"), plugins);
    }

    private ClassPathNode(Environment environment, Collection<Class<? extends Plugin>> plugins) {
        super(NodeConstruction.prepareConstruction(environment, null, new ClassPathPlugins(plugins), true));
    }

    private static final class ClassPathPlugins extends NodeServiceProvider {
        private final Collection<Class<? extends Plugin>> plugins;

        ClassPathPlugins(Collection<Class<? extends Plugin>> plugins) {
            this.plugins = plugins;
        }

        @Override
        PluginsService newPluginService(Environment environment, PluginsLoader loader) {
            return new MockPluginsService(environment.settings(), environment, plugins);
        }
    }
}
