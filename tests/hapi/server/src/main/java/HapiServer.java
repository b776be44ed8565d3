import ca.uhn.fhir.batch2.api.IJobMaintenanceService;
import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.batch2.jobs.export.BulkDataExportProvider;
import ca.uhn.fhir.batch2.maintenance.JobMaintenanceServiceImpl;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.IDaoRegistry;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.binary.api.IBinaryStorageSvc;
import ca.uhn.fhir.jpa.binstore.DatabaseBinaryContentStorageSvcImpl;
import ca.uhn.fhir.jpa.config.HibernatePropertiesProvider;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.config.util.ResourceCountCacheUtil;
import ca.uhn.fhir.jpa.dao.FulltextSearchSvcImpl;
import ca.uhn.fhir.jpa.dao.IFulltextSearchSvc;
import ca.uhn.fhir.jpa.dao.search.HSearchSortHelperImpl;
import ca.uhn.fhir.jpa.dao.search.IHSearchSortHelper;
import ca.uhn.fhir.jpa.interceptor.UserRequestRetryVersionConflictsInterceptor;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect;
import ca.uhn.fhir.jpa.provider.DaoRegistryResourceSupportedSvc;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.search.IStaleSearchDeletingSvc;
import ca.uhn.fhir.jpa.search.StaleSearchDeletingSvcImpl;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.subscription.match.config.SubscriptionProcessorConfig;
import ca.uhn.fhir.jpa.subscription.match.deliver.email.IEmailSender;
import ca.uhn.fhir.jpa.subscription.submit.config.SubscriptionSubmitterConfig;
import ca.uhn.fhir.jpa.util.ResourceCountCache;
import ca.uhn.fhir.rest.api.IResourceSupportedSvc;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import com.zaxxer.hikari.HikariDataSource;
import jakarta.persistence.EntityManagerFactory;
import java.io.IOException;
import java.net.InetAddress;
import java.util.Map;
import java.util.Optional;
import javax.sql.DataSource;
import org.hibernate.dialect.Dialect;
import org.springframework.beans.factory.annotation.Autowired;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.web.embedded.tomcat.TomcatServletWebServerFactory;
import org.springframework.boot.web.servlet.ServletRegistrationBean;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;
import org.springframework.transaction.annotation.EnableTransactionManagement;

/**
 * HAPI FHIR JPA R4 on loopback, for tests and for trying things on. It lives as long as its standard input
 * is open, so that nobody who starts it can leave it behind, not even by being killed.
 *
 * <p>The settings are the variables of the environment that {@link Settings} reads.
 */
@Configuration
@EnableTransactionManagement
@Import({
    HapiServer.Web.class,
    HapiServer.Storage.class,
    HapiServer.Jobs.class,
    HapiServer.Demanded.class,
    JpaR4Config.class,
    ThreadPoolFactoryConfig.class,
    JpaBatch2Config.class,
    Batch2JobsConfig.class,
    SubscriptionSubmitterConfig.class,
    SubscriptionProcessorConfig.class,
    SubscriptionChannelConfig.class
})
public class HapiServer {
  private static final long GRACE_MS = 5_000;

  public static void main(String[] args) {
    var watch = new Thread(HapiServer::endWithStandardInput, "end-with-standard-input");
    watch.setDaemon(true);
    watch.start();
    var application = new SpringApplication(HapiServer.class);
    application.setDefaultProperties(
        Map.of(
            "spring.main.allow-circular-references", "true", // HAPI's beans need each other
            "spring.main.banner-mode", "off",
            "logging.level.ca.uhn.fhir.rest.server.interceptor", "ERROR", // each 404 is a warning there
            "logging.level.root", "WARN"));
    application.run(args);
  }

  private static void endWithStandardInput() {
    try {
      while (System.in.read() >= 0) {}
    } catch (IOException closed) {
      // the same as its end
    }
    var last = new Thread(HapiServer::haltAfterGrace, "halt-after-grace");
    last.setDaemon(true);
    last.start();
    System.exit(0);
  }

  private static void haltAfterGrace() {
    try {
      Thread.sleep(GRACE_MS);
    } catch (InterruptedException early) {
      // no reason to live longer
    }
    Runtime.getRuntime().halt(0);
  }

  /** What can be set from outside. */
  static final class Settings {
    static final int PORT = (int) number("HAPI_PORT", 8080);

    /** A file that survives a kill: without WRITE_DELAY=0, H2 loses what it has acknowledged. */
    static final String DATABASE =
        text("HAPI_DB").map(path -> "jdbc:h2:file:" + path + ";WRITE_DELAY=0").orElse("jdbc:h2:mem:hapi;DB_CLOSE_DELAY=-1");

    /** How long the hits of a search answer the next one like it; 0 turns that off. */
    static final long REUSE_MS = number("HAPI_REUSE_MS", 60_000);

    /** How long a link to a next page works. */
    static final long EXPIRE_MS = number("HAPI_EXPIRE_MS", 3_600_000);

    static final int PAGE = (int) number("HAPI_PAGE", 20);
    static final int PAGE_MAX = (int) number("HAPI_PAGE_MAX", Integer.MAX_VALUE);

    /** How often jobs move on; HAPI's own 60 s makes the export of one patient take minutes. */
    static final long BATCH_MS = number("HAPI_BATCH_MS", 200);

    /** Whether X-Retry-On-Version-Conflict is understood. */
    static final boolean RETRY_CONFLICTS = text("HAPI_RETRY_CONFLICTS").map("true"::equals).orElse(false);

    private static Optional<String> text(String name) {
      return Optional.ofNullable(System.getenv(name)).filter(value -> !value.isBlank());
    }

    private static long number(String name, long otherwise) {
      return text(name).map(Long::parseLong).orElse(otherwise);
    }
  }

  /** What is seen over HTTP. */
  @Configuration
  static class Web {
    /** The bar of `system|code` is let through unescaped, as in HAPI's own starter project. */
    @Bean
    TomcatServletWebServerFactory tomcat() {
      var tomcat = new TomcatServletWebServerFactory(Settings.PORT);
      tomcat.setAddress(InetAddress.getLoopbackAddress());
      tomcat.addConnectorCustomizers(connector -> connector.setProperty("relaxedQueryChars", "|"));
      return tomcat;
    }

    @Bean
    DatabaseBackedPagingProvider pages() {
      var pages = new DatabaseBackedPagingProvider();
      pages.setDefaultPageSize(Settings.PAGE);
      pages.setMaximumPageSize(Settings.PAGE_MAX);
      return pages;
    }

    @Bean
    RestfulServer fhir(
        FhirContext r4,
        IFhirSystemDao<?, ?> everything,
        ResourceProviderFactory types,
        IJpaSystemProvider system,
        BulkDataExportProvider export,
        DatabaseBackedPagingProvider pages,
        JpaStorageSettings storage,
        ISearchParamRegistry parameters,
        IValidationSupport validation) {
      var server = new RestfulServer(r4);
      server.registerProviders(types.createProviders());
      server.registerProviders(system, export);
      server.setPagingProvider(pages);
      server.setServerConformanceProvider(
          new JpaCapabilityStatementProvider(server, everything, storage, parameters, validation));
      if (Settings.RETRY_CONFLICTS) {
        server.registerInterceptor(new UserRequestRetryVersionConflictsInterceptor());
      }
      return server;
    }

    @Bean
    ServletRegistrationBean<RestfulServer> address(RestfulServer fhir) {
      return new ServletRegistrationBean<>(fhir, "/fhir/*");
    }
  }

  /** Where resources are kept, and how they are found again. */
  @Configuration
  static class Storage {
    @Bean
    JpaStorageSettings settings() {
      var settings = new JpaStorageSettings();
      settings.setReuseCachedSearchResultsForMillis(Settings.REUSE_MS > 0 ? Settings.REUSE_MS : null);
      settings.setExpireSearchResultsAfterMillis(Settings.EXPIRE_MS);
      settings.setAllowExternalReferences(true);
      return settings;
    }

    @Bean
    DataSource database() {
      var database = new HikariDataSource();
      database.setJdbcUrl(Settings.DATABASE);
      database.setUsername("sa");
      database.setPassword("");
      database.setMaximumPoolSize(20);
      return database;
    }

    /** The dialect is told, not asked of a connection. */
    @Primary
    @Bean
    HibernatePropertiesProvider dialect() {
      return new HibernatePropertiesProvider() {
        @Override
        public Dialect getDialect() {
          return new HapiFhirH2Dialect();
        }
      };
    }

    @Primary
    @Bean
    LocalContainerEntityManagerFactoryBean entityManagerFactory(
        ConfigurableListableBeanFactory beans, FhirContext r4, DataSource database, JpaStorageSettings settings) {
      var factory = HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, r4, settings);
      factory.setPersistenceUnitName("HAPI_PU");
      factory.setDataSource(database);
      factory.setJpaPropertyMap(
          Map.of(
              "hibernate.dialect", HapiFhirH2Dialect.class.getName(),
              "hibernate.hbm2ddl.auto", "update",
              "hibernate.jdbc.batch_size", "20",
              "hibernate.search.enabled", "false",
              "hibernate.archive.scanner", "org.hibernate.boot.archive.scan.internal.DisabledScanner"));
      return factory;
    }

    @Primary
    @Bean
    JpaTransactionManager transactionManager(EntityManagerFactory factory) {
      return new JpaTransactionManager(factory);
    }

    /** Files of an export are rows as well, so that they are there after a restart. */
    @Bean
    IBinaryStorageSvc binaries() {
      return new DatabaseBinaryContentStorageSvcImpl();
    }

    @Bean
    IStaleSearchDeletingSvc expiry() {
      return new StaleSearchDeletingSvcImpl();
    }
  }

  /** Jobs, which need the storage and so cannot be a part of it. */
  @Configuration
  static class Jobs {
    @Autowired
    void hurry(IJobMaintenanceService jobs) {
      ((JobMaintenanceServiceImpl) jobs).setScheduledJobFrequencyMillis(Settings.BATCH_MS);
    }
  }

  /** What HAPI's own configurations ask for, whether it is used or not. */
  @Configuration
  static class Demanded {
    @Bean
    PartitionSettings partitions() {
      return new PartitionSettings();
    }

    @Bean
    SubscriptionSettings subscriptions() {
      return new SubscriptionSettings();
    }

    @Bean
    IEmailSender mail() {
      return message -> {};
    }

    @Bean
    IFulltextSearchSvc words() {
      return new FulltextSearchSvcImpl();
    }

    @Bean
    IHSearchSortHelper order(ISearchParamRegistry parameters) {
      return new HSearchSortHelperImpl(parameters);
    }

    @Bean
    IResourceSupportedSvc supported(IDaoRegistry types) {
      return new DaoRegistryResourceSupportedSvc(types);
    }

    @Bean("myResourceCountsCache")
    ResourceCountCache counts(IFhirSystemDao<?, ?> everything) {
      return ResourceCountCacheUtil.newResourceCountCache(everything);
    }
  }
}
