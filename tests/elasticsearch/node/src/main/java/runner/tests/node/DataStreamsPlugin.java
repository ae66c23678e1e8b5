package runner.tests.node;

import static org.elasticsearch.rest.RestRequest.Method.DELETE;
import static org.elasticsearch.rest.RestRequest.Method.GET;
import static org.elasticsearch.rest.RestRequest.Method.PUT;

import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.action.admin.indices.create.AutoCreateAction;
import org.elasticsearch.action.admin.indices.create.CreateIndexRequest;
import org.elasticsearch.action.support.IndicesOptions;
import org.elasticsearch.action.support.master.AcknowledgedResponse;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.ClusterStateUpdateTask;
import org.elasticsearch.cluster.metadata.DataStream;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.metadata.MetadataDeleteIndexService;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.Strings;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.Index;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.rest.action.RestToXContentListener;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * The data stream API: create, get, delete.
 *
 * <p>The server itself knows data streams (templates, writes, roll-over, resolution of names); only the module with these
 * requests is not published.
 */
public final class DataStreamsPlugin extends Plugin implements ActionPlugin {
    private ClusterService clusterService;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        clusterService = services.clusterService();
        return List.of();
    }

    @Override
    public Collection<RestHandler> getRestHandlers(
        Settings settings,
        NamedWriteableRegistry namedWriteables,
        RestController controller,
        ClusterSettings clusterSettings,
        IndexScopedSettings indexSettings,
        SettingsFilter filter,
        IndexNameExpressionResolver resolver,
        Supplier<DiscoveryNodes> nodes,
        Predicate<NodeFeature> features
    ) {
        return List.of(new Handler(settings, clusterService, resolver));
    }

    private static final class Handler extends BaseRestHandler {
        private final Settings settings;
        private final ClusterService clusterService;
        private final IndexNameExpressionResolver resolver;

        Handler(Settings settings, ClusterService clusterService, IndexNameExpressionResolver resolver) {
            this.settings = settings;
            this.clusterService = clusterService;
            this.resolver = resolver;
        }

        @Override
        public String getName() {
            return "data_stream_action";
        }

        @Override
        public List<Route> routes() {
            return List.of(
                new Route(GET, "/_data_stream"),
                new Route(GET, "/_data_stream/{name}"),
                new Route(PUT, "/_data_stream/{name}"),
                new Route(DELETE, "/_data_stream/{name}")
            );
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            String name = request.param("name", "*");
            IndicesOptions options = IndicesOptions.fromRequest(request, IndicesOptions.strictExpandOpen());
            if (request.method() == PUT) {
                return channel -> client.execute(
                    AutoCreateAction.INSTANCE,
                    new CreateIndexRequest(name),
                    new RestToXContentListener<>(channel)
                );
            }
            String[] names = Strings.splitStringByCommaToArray(name);
            if (request.method() == DELETE) {
                return channel -> clusterService.submitUnbatchedStateUpdateTask(
                    "delete data streams " + name,
                    new Deletion(names, new RestToXContentListener<>(channel))
                );
            }
            return channel -> {
                ClusterState state = clusterService.state();
                XContentBuilder body = channel.newBuilder().startObject().startArray("data_streams");
                for (String found : resolver.dataStreamNames(state, options, names)) {
                    write(body, state.metadata().dataStreams().get(found));
                }
                channel.sendResponse(new RestResponse(RestStatus.OK, body.endArray().endObject()));
            };
        }

        private static void write(XContentBuilder body, DataStream stream) throws java.io.IOException {
            body.startObject().field("name", stream.getName());
            body.startObject("timestamp_field").field("name", DataStream.TIMESTAMP_FIELD_NAME).endObject();
            body.startArray("indices");
            for (Index index : stream.getIndices()) {
                body.startObject().field("index_name", index.getName()).field("index_uuid", index.getUUID()).endObject();
            }
            body.endArray().field("generation", stream.getGeneration()).field("hidden", stream.isHidden());
            body.field("system", stream.isSystem()).field("status", "GREEN").endObject();
        }

        private final class Deletion extends ClusterStateUpdateTask {
            private final String[] names;
            private final RestToXContentListener<AcknowledgedResponse> listener;

            Deletion(String[] names, RestToXContentListener<AcknowledgedResponse> listener) {
                this.names = names;
                this.listener = listener;
            }

            @Override
            public ClusterState execute(ClusterState state) {
                var metadata = org.elasticsearch.cluster.metadata.Metadata.builder(state.metadata());
                Set<Index> indices = new HashSet<>();
                for (String found : resolver.dataStreamNames(state, IndicesOptions.strictExpandOpen(), names)) {
                    indices.addAll(state.metadata().dataStreams().get(found).getIndices());
                    metadata.removeDataStream(found);
                }
                ClusterState without = ClusterState.builder(state).metadata(metadata).build();
                return MetadataDeleteIndexService.deleteIndices(without, indices, settings);
            }

            @Override
            public void clusterStateProcessed(ClusterState before, ClusterState after) {
                listener.onResponse(AcknowledgedResponse.TRUE);
            }

            @Override
            public void onFailure(Exception failure) {
                listener.onFailure(failure);
            }
        }
    }
}
