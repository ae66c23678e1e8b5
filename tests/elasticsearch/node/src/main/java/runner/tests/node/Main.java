package runner.tests.node;

import java.io.OutputStream;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.core.IOUtils;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.node.ClassPathNode;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.transport.netty4.Netty4Plugin;
import org.elasticsearch.xpack.esql.plugin.EsqlPlugin;

/**
 * One Elasticsearch node on the loopback address.
 *
 * <p>Called as {@code Main HOME [--port N] [--security] [--esql] [name=value ...]}: data lies under HOME, {@code name=value}
 * are node settings. Prints {@code READY http://127.0.0.1:PORT} to standard output once it answers, and stops when its standard
 * input ends, so it never outlives the process that started it, however that one died. HOME is deleted then, unless something
 * was written to the input before.
 */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        // Standard output carries one line, for the program that started this one.
        PrintStream answer = System.out;
        System.setOut(System.err);
        LogConfigurator.configureESLogging();
        List<String> rest = new ArrayList<>(Arrays.asList(arguments));
        Path home = Path.of(rest.remove(0));
        boolean security = rest.remove("--security");
        boolean esql = rest.remove("--esql");
        int port = 0;
        int at = rest.indexOf("--port");
        if (at >= 0) {
            rest.remove(at);
            port = Integer.parseInt(rest.remove(at));
        }
        ClassPathNode node = new ClassPathNode(settings(home, port, security, rest), plugins(security, esql));
        node.start();
        // The state of an earlier run is recovered after the start; before that every write is refused.
        TimeValue patience = TimeValue.timeValueSeconds(60);
        node.client().admin().cluster().prepareHealth(patience).setTimeout(patience).setWaitForYellowStatus().get();
        InetSocketAddress bound = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress().address();
        answer.println("READY http://127.0.0.1:" + bound.getPort());
        answer.flush();
        boolean keep = System.in.transferTo(OutputStream.nullOutputStream()) > 0;
        node.close();
        if (keep == false) {
            IOUtils.rm(home);
        }
        System.exit(0);
    }

    private static List<Class<? extends Plugin>> plugins(boolean security, boolean esql) {
        List<Class<? extends Plugin>> plugins = new ArrayList<>();
        plugins.add(Netty4Plugin.class);
        plugins.add(RootPlugin.class);
        plugins.add(FieldTypesPlugin.class);
        plugins.add(DataStreamsPlugin.class);
        if (esql) {
            plugins.add(EsqlPlugin.class);
        }
        if (security) {
            plugins.addAll(SecurityPlugins.all());
        }
        return plugins;
    }

    private static Settings settings(Path home, int port, boolean security, List<String> more) {
        Settings.Builder settings = Settings.builder()
            .put("path.home", home.toString())
            .put("path.data", home.resolve("data").toString())
            .put("path.logs", home.resolve("logs").toString())
            .put("cluster.name", "runner-tests")
            .put("node.name", "runner-tests")
            .put("node.processors", Math.min(2, Runtime.getRuntime().availableProcessors()))
            .put("network.host", "127.0.0.1")
            .put("transport.port", "0")
            .put("http.port", Integer.toString(port))
            .put("discovery.type", "single-node")
            // A full disk of the developer's machine is no business of the tests.
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("action.destructive_requires_name", false);
        if (security) {
            SecurityPlugins.configure(settings, "runner-tests");
        } else {
            settings.put("transport.type", "netty4").put("http.type", "netty4");
        }
        for (String setting : more) {
            int equals = setting.indexOf('=');
            settings.put(setting.substring(0, equals), setting.substring(equals + 1));
        }
        return settings.build();
    }
}
